import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import path from 'node:path'
import { expect, it } from 'vitest'
import { tempDir } from '../../../test/support/cli.js'
import { claimFolder } from './claim.js'

const leave = (root: string, name: string): void => {
  mkdirSync(path.join(root, name))
  writeFileSync(path.join(root, name, 'file'), name)
}
const held = (dir: string): string[] => readdirSync(dir).map((name) => readFileSync(path.join(dir, name), 'utf8'))
/** No process has this number. */
const DEAD = 2 ** 30

it('what one leaves the next one gets, and two at a time never share', async () => {
  const root = tempDir()
  const first = await claimFolder(root, 'abc')
  writeFileSync(path.join(first.dir, 'file'), 'kept')
  const second = await claimFolder(root, 'abc')
  expect(held(second.dir)).toEqual([])
  await first.release()
  await second.remove()
  const third = await claimFolder(root, 'abc')
  expect(held(third.dir)).toEqual(['kept'])
  expect(held((await claimFolder(root, 'other')).dir)).toEqual([])
  await third.remove()
})

it('the folder of a dead process is taken over; that of a living one, here or elsewhere, is not', async () => {
  const root = tempDir()
  const dead = `abc.${DEAD}-0.${hostname()}`
  leave(root, `abc.${process.ppid}-0.${hostname()}`)
  leave(root, 'abc.1-0.elsewhere')
  expect(held((await claimFolder(root, 'abc')).dir)).toEqual([])
  leave(root, dead)
  expect(held((await claimFolder(root, 'abc')).dir)).toEqual([dead])
  // A machine that has been silent for long is taken for dead.
  utimesSync(path.join(root, 'abc.1-0.elsewhere'), new Date(), new Date(Date.now() - 3600 * 1000))
  expect(held((await claimFolder(root, 'abc')).dir)).toEqual(['abc.1-0.elsewhere'])
})

it('what nobody has come back to for a month is deleted', async () => {
  const root = tempDir()
  leave(root, 'old')
  leave(root, 'new')
  utimesSync(path.join(root, 'old'), new Date(), new Date(Date.now() - 31 * 24 * 3600 * 1000))
  await (await claimFolder(root, 'abc')).remove()
  expect(readdirSync(root)).toEqual(['new'])
})
