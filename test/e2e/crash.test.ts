/** Whatever dies in the middle: nothing is lost, nothing doubled, and the bytes are those of an undisturbed run. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { runCli } from '../support/cli.js'
import { writePictures } from '../support/images.js'
import { outputHashes, readRows } from '../support/parts.js'
import { namesIn, randomInteger, signalWhen } from '../support/signal-when.js'

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
afterAll(() => rmSync(dir, { recursive: true, force: true }))

beforeAll(async () => {
  await writePictures(photos, 90)
  expect((await runCli(args('whole'))).code).toBe(0)
  undisturbed = outputHashes(path.join(dir, 'whole'))
})

it('kill -9 at 20 random moments, then resumed: byte-identical parts, no row lost or doubled', async () => {
  for (const name of ['killed a', 'killed b', 'killed c', 'killed d']) {
    const out = path.join(dir, name)
    const marks = (): number =>
      namesIn(out, /^part-\d+\.arrow$/).length +
      namesIn(path.join(out, '_vtp'), /^(plan\.json|tmp)$/).length +
      namesIn(path.join(out, '_vtp', 'attempts'), /\.1$/).length +
      namesIn(path.join(out, '_vtp', 'commits'), /^\d+\.json$/).length
    // One while the program starts; then further and further into the work, the last with a unit or two to go.
    for (const [low, high] of [
      [0, 0],
      [1, 3],
      [4, 8],
      [9, 12],
      [13, 15],
    ] as const) {
      const wanted = randomInteger(low, high)
      const run = await runCli(args(name), {
        onSpawn: signalWhen('SIGKILL', () => marks() >= wanted, wanted === 0 ? 200 : 25),
      })
      expect(run.signal, `${wanted} of 20 marks: ${run.stderr}`).toBe('SIGKILL')
    }
    const last = await runCli(args(name))
    expect(last.stderr + last.code).toMatch(/0$/)
    expect(outputHashes(out)).toEqual(undisturbed)
    // A kill may leave `*.tmp-*` beside them, which nobody reads.
    expect(namesIn(path.join(out, '_vtp', 'commits'), /^\d+\.json$/)).toHaveLength(6)
    const keys = (await readRows(out)).map((row) => row.key)
    expect(new Set(keys).size).toBe(90)
  }
})

it('Ctrl-C finishes the batches in flight, exits with 4, and the next run continues', async () => {
  const commits = path.join(dir, 'stopped', '_vtp', 'commits')
  const interrupted = await runCli(args('stopped'), {
    onSpawn: signalWhen('SIGINT', () => namesIn(commits, /\.json$/).length > 0),
  })
  expect(interrupted.stderr).toMatch(/Stopping/)
  expect(interrupted.code).toBe(4)
  expect(interrupted.stderr).toMatch(/Run the same command again/)
  const next = await runCli(args('stopped'))
  expect(next.code).toBe(0)
  expect(outputHashes(path.join(dir, 'stopped'))).toEqual(undisturbed)
})

it('a second Ctrl-C ends the program at once', async () => {
  const attempts = path.join(dir, 'at once', '_vtp', 'attempts')
  const result = await runCli(args('at once', 16), {
    onSpawn: (child) => {
      signalWhen('SIGINT', () => namesIn(attempts, /./).length > 0)(child)
      // The second one as soon as the program has said that it stops.
      child.stderr!.once('data', function again(text) {
        if (/Stopping/.test(String(text))) child.kill('SIGINT')
        else child.stderr!.once('data', again)
      })
    },
  })
  expect(result.code).toBe(4)
  // Had it stopped cleanly, it would have said how to continue.
  expect(result.stderr).not.toMatch(/Run the same command again/)
  expect((await runCli(args('at once'))).code).toBe(0)
  expect(outputHashes(path.join(dir, 'at once'))).toEqual(undisturbed)
})
