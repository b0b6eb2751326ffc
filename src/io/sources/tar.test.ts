import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import tar from 'tar-stream'
import { expect, it, onTestFinished } from 'vitest'
import { openTars } from './tar.js'

async function listTar(members: [name: string, content: string][]) {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp-tar-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  const pack = tar.pack()
  for (const [name, content] of members) pack.entry({ name }, content)
  pack.finalize()
  const file = path.join(dir, 'a.tar')
  await writeFile(file, await buffer(pack))
  const source = await openTars([file], {})
  const entries = []
  for await (const { key, label, at } of source.list()) {
    entries.push({ key, label, at: at.kind === 'bad' ? at.code : at.kind })
  }
  return entries
}

it('every image member is an entry, also a second one of the same sample', async () => {
  const entries = await listTar([
    ['1.cls', '3'],
    ['1.png', 'a'],
    ['1.jpg', 'b'],
    ['1.png', 'c'],
    ['2.png', 'd'],
    ['3.txt', 'no image'],
  ])
  expect(entries).toEqual([
    { key: 'a.tar/1', label: 3, at: 'range' },
    { key: 'a.tar/1.jpg', label: undefined, at: 'bad_entry' },
    { key: 'a.tar/1.png', label: undefined, at: 'bad_entry' },
    { key: 'a.tar/2', label: undefined, at: 'range' },
  ])
})

it('a name that leads out of the tar is a reject', async () => {
  const entries = await listTar([
    ['../../evil.png', 'a'],
    ['fine..name/b.png', 'b'],
  ])
  expect(entries.map(({ at }) => at)).toEqual(['bad_entry', 'range'])
})
