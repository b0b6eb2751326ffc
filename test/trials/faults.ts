/**
 * Object storage behind the fault proxy: 0, 1, 5, 10 and 20 % of the requests fail (500, 503 SlowDown, reset,
 * truncated body, answer dropped after the work). One worker, bucket to bucket.
 *
 *   npx tsx test/trials/faults.ts [IMAGES] [RATES] [DELAY_MS]
 *
 * With a delay every answer of every second run comes that much later, as from another continent.
 * Prints seconds and requests for each rate, relative to the run without faults through the same proxy.
 */
import { rmSync } from 'node:fs'
import path from 'node:path'
import { runCli } from '../support/cli.js'
import { startFaultProxy } from '../support/fault-proxy.js'
import { outputHashes } from '../support/parts.js'
import { startGateway } from '../support/s3-gateway.js'
import { QUICK_FLAGS, writeSmallPictures } from '../support/small-images.js'

const images = Number(process.argv[2] ?? 1000)
const rates = (process.argv[3] ?? '0,0.01,0.05,0.1,0.2,0').split(',').map(Number)
const delayMs = Number(process.argv[4] ?? 0)
const gateway = await startGateway()
let bad = 0
try {
  await writeSmallPictures(path.join(gateway.folder, 'bucket', 'images'), images)
  let expected: string | undefined
  let plain: number | undefined
  for (const [i, rate] of rates.entries()) {
    // With a delay: near and far in turn.
    const distance = i % 2 === 0 ? 0 : delayMs
    const proxy = await startFaultProxy({ port: gateway.port, rate, seed: 7, delayMs: distance })
    const args = ['encode', 's3://bucket/images', '--out', 's3://bucket/out', '--shard-rows', '50', ...QUICK_FLAGS]
    const began = performance.now()
    const run = await runCli(args, { env: { ...gateway.env, AWS_ENDPOINT_URL: proxy.endpoint }, timeoutMs: 600_000 })
    const seconds = (performance.now() - began) / 1000
    await proxy.close()
    const out = path.join(gateway.folder, 'bucket', 'out')
    const hashes = JSON.stringify(outputHashes(out))
    expected ??= hashes
    plain ??= seconds
    const ok = run.code === 0 && hashes === expected
    if (!ok) {
      bad++
      console.log(run.stderr)
    }
    const faults = Object.entries(proxy.done)
      .map(([fault, count]) => `${fault} ${count}`)
      .join(', ')
    console.log(
      `${rate * 100} %, ${distance} ms: ${ok ? 'same bytes' : 'WRONG'}, ${seconds.toFixed(1)} s (${(seconds / plain).toFixed(2)} x), ${proxy.requests} requests; ${faults || 'no faults'}`,
    )
    rmSync(out, { recursive: true, force: true })
  }
} finally {
  await gateway.close()
}
process.exitCode = bad > 0 ? 1 : 0
