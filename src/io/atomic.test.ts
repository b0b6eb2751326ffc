import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { isTemporary, removeLeftOvers, settleIfAbsent, temporaryName, writeAtomically } from './atomic.js'
import { ownMark } from './owner.js'

function folder(): string {
  const dir = mkdtempSync(path.join(tmpdir(), 'vtp atomic '))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

const UUID = '0b1c2d3e-0000-4000-8000-000000000001'
/** The number of a process of ours that has ended. */
const deadPid = spawnSync('true').pid
const markOf = (pid: number): string => ownMark.replace(/\d+$/, String(pid))

it('many writers of one file leave one of their texts, and nothing else', async () => {
  const dir = folder()
  const file = path.join(dir, 'entry')
  const texts = Array.from({ length: 50 }, (_, i) => `${i} `.repeat(1000))
  await Promise.all(texts.map((text) => writeAtomically(file, (tmp) => writeFile(tmp, text))))
  expect(texts).toContain(readFileSync(file, 'utf8'))
  expect(readdirSync(dir)).toEqual(['entry'])
})

it('a writer that fails leaves the old file', async () => {
  const dir = folder()
  const file = path.join(dir, 'entry')
  writeFileSync(file, 'old')
  const write = writeAtomically(file, async (tmp) => {
    await writeFile(tmp, 'half')
    throw new Error('the disk is full')
  })
  await expect(write).rejects.toThrow('the disk is full')
  expect(readFileSync(file, 'utf8')).toBe('old')
  expect(readdirSync(dir)).toEqual(['entry'])
})

it('of many that want a free name one gets it', async () => {
  const dir = folder()
  const file = path.join(dir, 'entry')
  const taken = await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      const tmp = temporaryName(file)
      await writeFile(tmp, String(i))
      return settleIfAbsent(tmp, file)
    }),
  )
  expect(taken.filter(Boolean)).toHaveLength(1)
  expect(readFileSync(file, 'utf8')).toBe(String(taken.indexOf(true)))
})

it('temporary names fit where the names of the files do, and are told from all others', () => {
  for (const name of ['a', 'x'.repeat(255), 'ü'.repeat(127)]) {
    const tmp = temporaryName(path.join('folder', name))
    expect(Buffer.byteLength(path.basename(tmp))).toBeLessThanOrEqual(255)
    expect(isTemporary(tmp)).toBe(true)
    expect(isTemporary(name)).toBe(false)
  }
})

it('removes what ended processes have left, and nothing that may be in use', async () => {
  const dir = folder()
  const old = new Date(Date.now() - 48 * 3600 * 1000)
  const cases: [name: string, old: boolean, stays: boolean][] = [
    [`dead.tmp-${markOf(deadPid)}-${UUID}`, false, false],
    [`alive.tmp-${markOf(process.ppid)}-${UUID}`, true, true],
    [`own.tmp-${ownMark}-${UUID}`, true, true],
    // Another machine or container, whose process of the same number may run.
    [`elsewhere.tmp-00000000-${deadPid}-${UUID}`, false, true],
    [`elsewhere old.tmp-00000000-${deadPid}-${UUID}`, true, false],
    [`nameless.tmp-${UUID}`, false, true],
    [`nameless old.tmp-${UUID}`, true, false],
    ['notes.tmp-1', true, true],
    ['weights', true, true],
  ]
  for (const [name, isOld] of cases) {
    writeFileSync(path.join(dir, name), '')
    if (isOld) utimesSync(path.join(dir, name), old, old)
  }
  await removeLeftOvers(dir)
  const stay = cases.filter(([, , stays]) => stays).map(([name]) => name)
  expect(readdirSync(dir).sort()).toEqual(stay.sort())
})
