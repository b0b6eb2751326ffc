/** Many workers from bucket to bucket, whatever dies: nothing lost, nothing doubled, the bytes of one undisturbed run. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { runCli } from '../support/cli.js'
import { runCluster } from '../support/cluster.js'
import { outputHashes } from '../support/parts.js'
import { BUILD_TIMEOUT_MS, type Gateway, startGateway } from '../support/s3-gateway.js'
import { namesIn, randomInteger } from '../support/signal-when.js'
import { QUICK_FLAGS, writeSmallPictures } from '../support/small-images.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp cluster '))
const flags = ['encode', 's3://bucket/my images', '--shard-rows', '12', ...QUICK_FLAGS]
const IMAGES = 168
let gateway: Gateway
let undisturbed: Record<string, string>

beforeAll(async () => {
  gateway = await startGateway()
  await writeSmallPictures(path.join(gateway.folder, 'bucket', 'my images'), IMAGES)
  const run = await runCli([...flags, '--out', path.join(dir, 'local')], { env: gateway.env })
  expect(run.stderr + run.code).toMatch(/0$/)
  undisturbed = outputHashes(path.join(dir, 'local'))
}, BUILD_TIMEOUT_MS)
afterAll(async () => {
  await gateway.close()
  rmSync(dir, { recursive: true, force: true })
})

it('4 workers killed at random moments, one stopped until the others have done its work: the same bytes', async () => {
  const out = path.join(gateway.folder, 'bucket', 'out')
  // All start with 14 units to do; each is signalled after some of the first units of whomever.
  const begun = (): number =>
    namesIn(path.join(out, '_vtp', 'attempts'), /./).length +
    namesIn(path.join(out, '_vtp', 'commits'), /^\d+\.json$/).length
  const wanted = Array.from({ length: 4 }, () => randomInteger(1, 4))
  const result = await runCluster({
    args: [...flags, '--out', 's3://bucket/out'],
    env: gateway.env,
    workers: 4,
    kills: 1,
    reached: (worker) => begun() >= wanted[worker]!,
    killAfterMs: [0, 50],
    zombie: true,
    timeoutMs: 100_000,
  })
  for (const end of result.ends) expect(end.stderr + end.code).toMatch(/0$/)
  expect(result.revived).toBe(true)
  expect(result.killed).toBe(3)
  expect(outputHashes(out)).toEqual(undisturbed)
  expect(namesIn(path.join(out, '_vtp', 'commits'), /^\d+\.json$/)).toHaveLength(IMAGES / 12)
  const verified = await runCli(['verify', 's3://bucket/out', '--json'], { env: gateway.env })
  expect(JSON.parse(verified.stdout)).toMatchObject({ rows: IMAGES, complete: true, finalized: true, problems: [] })
  expect(verified.code).toBe(0)
}, 120_000)
