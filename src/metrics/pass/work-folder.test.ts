import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { tempDir } from '../../../test/support/cli.js'
import { takeWorkFolder } from './work-folder.js'

const held = (dir: string): string[] =>
  readdirSync(dir)
    .filter((name) => !name.startsWith('claim-'))
    .map((name) => readFileSync(path.join(dir, name), 'utf8'))

it('what one leaves the next one gets, and two at a time never share', async () => {
  const root = tempDir()
  const first = await takeWorkFolder(root, 'abc')
  writeFileSync(path.join(first.dir, 'file'), 'kept')
  const second = await takeWorkFolder(root, 'abc')
  expect(held(second.dir)).toEqual([])
  await first.release()
  await second.remove()
  const third = await takeWorkFolder(root, 'abc')
  expect(held(third.dir)).toEqual(['kept'])
  const other = await takeWorkFolder(root, 'other')
  expect(held(other.dir)).toEqual([])
  await Promise.all([third.remove(), other.remove()])
  expect(readdirSync(root)).toEqual([])
})

it('a second folder that was interrupted is found when the first is done', async () => {
  const root = tempDir()
  const first = await takeWorkFolder(root, 'abc')
  const second = await takeWorkFolder(root, 'abc')
  writeFileSync(path.join(second.dir, 'file'), 'of the second')
  await second.release()
  await first.remove()
  const third = await takeWorkFolder(root, 'abc')
  expect(held(third.dir)).toEqual(['of the second'])
  await third.remove()
})

it('many at once have folders of their own', async () => {
  const root = tempDir()
  const taken = await Promise.all(Array.from({ length: 6 }, () => takeWorkFolder(root, 'abc')))
  expect(new Set(taken.map(({ dir }) => dir)).size).toBe(6)
  await Promise.all(taken.map(({ remove }) => remove()))
  expect(readdirSync(root)).toEqual([])
})

it('what nobody has come back to for a month is deleted, and what a killed process was deleting', async () => {
  const root = tempDir()
  for (const name of ['old', 'new', 'trash-1']) {
    mkdirSync(path.join(root, name))
    writeFileSync(path.join(root, name, 'file'), name)
  }
  utimesSync(path.join(root, 'old'), new Date(), new Date(Date.now() - 31 * 24 * 3600 * 1000))
  await (await takeWorkFolder(root, 'abc')).remove()
  expect(readdirSync(root)).toEqual(['new'])
})
