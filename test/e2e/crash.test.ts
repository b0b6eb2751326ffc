/** Whatever dies in the middle: nothing is lost, nothing doubled, and the bytes are those of an undisturbed run. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { runCli } from '../support/cli.js'
import { writePictures } from '../support/images.js'
import { outputHashes, readRows } from '../support/parts.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp crash '))
const photos = path.join(dir, 'photos')
const args = (out: string, batch = 4): string[] => [
  'encode',
  photos,
  '--out',
  path.join(dir, out),
  '--shard-rows',
  '16',
  '--batch-size',
  String(batch),
]
let undisturbed: Record<string, string>
let seconds: number
afterAll(() => rmSync(dir, { recursive: true, force: true }))

beforeAll(async () => {
  await writePictures(photos, 90)
  await runCli([...args('warm up'), '--dry-run']) // compiles the model into the cache
  const began = performance.now()
  expect((await runCli(args('whole'))).code).toBe(0)
  seconds = (performance.now() - began) / 1000
  undisturbed = outputHashes(path.join(dir, 'whole'))
})

it('kill -9 at 20 random moments, then resumed: byte-identical parts, no row lost or doubled', async () => {
  let killed = 0
  // Five kills per run: with more, the later ones would find everything done.
  for (const name of ['killed a', 'killed b', 'killed c', 'killed d']) {
    const out = path.join(dir, name)
    for (let i = 0; i < 5; i++) {
      const delayMs = Math.random() * seconds * 800
      const result = await runCli(args(name), {
        onSpawn: (child) => void sleep(delayMs).then(() => child.kill('SIGKILL')),
      })
      if (result.signal === 'SIGKILL') killed++
      else expect(result.code).toBe(0)
    }
    const last = await runCli(args(name))
    expect(last.stderr + last.code).toMatch(/0$/)
    expect(outputHashes(out)).toEqual(undisturbed)
    expect(readdirSync(path.join(out, '_vtp', 'commits'))).toHaveLength(6)
    const keys = (await readRows(out)).map((row) => row.key)
    expect(new Set(keys).size).toBe(90)
  }
  expect(killed).toBeGreaterThan(10)
}, 300_000)

it('Ctrl-C finishes the batches in flight, exits with 4, and the next run continues', async () => {
  const interrupted = await runCli(args('stopped'), {
    onSpawn: (child) => void sleep(seconds * 500).then(() => child.kill('SIGINT')),
  })
  expect(interrupted.stderr).toMatch(/Stopping/)
  expect(interrupted.code).toBe(4)
  expect(interrupted.stderr).toMatch(/Run the same command again/)
  const next = await runCli(args('stopped'))
  expect(next.code).toBe(0)
  expect(outputHashes(path.join(dir, 'stopped'))).toEqual(undisturbed)
})

it('a second Ctrl-C ends the program at once', async () => {
  const began = performance.now()
  const result = await runCli(args('at once', 16), {
    onSpawn: (child) => {
      void (async () => {
        while (!existsSync(path.join(dir, 'at once', '_vtp', 'attempts'))) await sleep(20)
        child.kill('SIGINT')
        await sleep(100)
        child.kill('SIGINT')
      })()
    },
  })
  expect(result.code).toBe(4)
  expect(performance.now() - began).toBeLessThan(20_000)
  expect((await runCli(args('at once'))).code).toBe(0)
  expect(outputHashes(path.join(dir, 'at once'))).toEqual(undisturbed)
})
