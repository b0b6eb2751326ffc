import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import type { ListingEntry } from '../../types.js'
import { openSource } from './index.js'
import type { SourceOptions } from './options.js'

async function makeTree(...names: string[]): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp-folder-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  for (const name of names) {
    if (name.endsWith('/')) await mkdir(path.join(dir, name), { recursive: true })
    else {
      await mkdir(path.dirname(path.join(dir, name)), { recursive: true })
      await writeFile(path.join(dir, name), `content of ${name}`)
    }
  }
  return dir
}

async function listTree(names: string[], options?: SourceOptions) {
  const source = await openSource(await makeTree(...names), options)
  const entries: ListingEntry[] = []
  for await (const entry of source.list()) entries.push(entry)
  await source.close()
  const { classes, passedOver, notes, kind } = source
  return { entries, labels: entries.map(({ label }) => label), classes, passedOver, notes, kind }
}

it('a class folder without images keeps its label, and is told of', async () => {
  const { labels, classes, notes } = await listTree(['ant/a.jpg', 'bee/', 'bug/readme.md', 'cat/c.jpg'])
  expect(labels).toEqual([0, 3])
  expect(classes).toEqual(['ant', 'bee', 'bug', 'cat'])
  expect(notes).toMatchObject([{ code: 'empty_class', count: 2, examples: ['bee, label 1', 'bug, label 2'] }])
})

it('an image beside the class folders takes the labels away, and is named', async () => {
  const { labels, classes, notes } = await listTree(['ant/a.jpg', 'cover.jpg', 'cat/c.jpg', 'empty/'])
  expect(labels).toEqual([undefined, undefined, undefined])
  expect(classes).toBeUndefined()
  expect(notes).toMatchObject([{ code: 'labels_lost', examples: ['cover.jpg'] }])
  expect((await listTree(['a.jpg', 'b.jpg'])).notes).toEqual([])
})

it('classes sort as in Python, by code point, and every extension of ImageFolder counts', async () => {
  const { classes } = await listTree(['😀/a.jpg', '～/a.jpg', 'Z/a.jpg', 'a/a.jpg', 'ä/a.jpg'])
  expect(classes).toEqual(['Z', 'a', 'ä', '～', '😀'])
  const extensions = ['.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp', '.JPG']
  expect((await listTree(extensions.map((extension) => `c/x${extension}`))).entries).toHaveLength(extensions.length)
})

it('files that are passed over are counted and named', async () => {
  const { passedOver, entries } = await listTree(['a.jpg', 'b.jfif', '._a.jpg', 'x/c.cls', 'x/d.JPG', 'notes.txt'])
  expect(entries).toHaveLength(2)
  expect(passedOver).toEqual({ count: 4, examples: ['._a.jpg', 'b.jfif', 'notes.txt'] })
})

it('a text file beside an image is its caption', async () => {
  const { entries, passedOver } = await listTree([
    'x/a.jpg',
    'x/a.txt',
    'x/b.png',
    'x/c.d.jpg',
    'x/c.d.txt',
    'y/a.jpg',
    'x/z.txt',
  ])
  expect(entries.map(({ key, caption }) => [key, caption])).toEqual([
    ['x/a.jpg', 'content of x/a.txt'],
    ['x/b.png', undefined],
    ['x/c.d.jpg', 'content of x/c.d.txt'],
    ['y/a.jpg', undefined],
  ])
  expect(passedOver).toEqual({ count: 1, examples: ['x/z.txt'] })
})

it('a limit takes the first images, with the labels of the whole folder', async () => {
  const { labels, classes } = await listTree(['a/1.jpg', 'b/1.jpg', 'c/1.jpg'], { limit: 2 })
  expect(labels).toEqual([0, 1])
  expect(classes).toEqual(['a', 'b', 'c'])
})

it('one image is a source, and so is a pattern of them', async () => {
  const dir = await makeTree('x/a.jpg', 'x/b.png', 'x/c.md')
  for (const [spec, keys] of [
    ['x/a.jpg', ['a.jpg']],
    ['x/*.{jpg,png}', ['a.jpg', 'b.png']],
  ] as const) {
    const source = await openSource(path.join(dir, spec))
    const found: string[] = []
    for await (const { key } of source.list()) found.push(key)
    expect(found).toEqual(keys)
  }
})

it('an archive beside a tree of images is passed over; a folder of archives only is a source of them', async () => {
  const { kind, passedOver } = await listTree(['backup.tar', 'deep/er/a.jpg'])
  expect([kind, passedOver.examples]).toEqual(['folder', ['backup.tar']])
  const dir = await makeTree('a.tar', 'b.tgz', 'readme.md', 'sub/')
  await writeFile(path.join(dir, 'a.tar'), Buffer.alloc(1024))
  await writeFile(path.join(dir, 'b.tgz'), Buffer.alloc(1024))
  const tars = await openSource(dir)
  for await (const _ of tars.list()) throw new Error('there is none')
  expect([tars.kind, tars.passedOver.count]).toEqual(['tar', 2])
  await expect(openSource(await makeTree('a.tar', 'b.parquet'))).rejects.toMatchObject({ code: 'mixed_sources' })
})
