/**
 * The long version of test/e2e/cluster.test.ts: many runs of 1,000 images by 4 workers from bucket to bucket
 * (versitygw), every worker killed -9 at random moments, one stopped until the others have done its units.
 *
 *   npx tsx test/trials/cluster-runs.ts [RUNS] [IMAGES]
 *
 * Prints one line per run, and a summary; exits with 1 when any byte, row or key is wrong.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { runCli } from '../support/cli.js'
import { runCluster } from '../support/cluster.js'
import { outputHashes } from '../support/parts.js'
import { startGateway } from '../support/s3-gateway.js'
import { QUICK_FLAGS, writeSmallPictures } from '../support/small-images.js'

const runs = Number(process.argv[2] ?? 50)
const images = Number(process.argv[3] ?? 1000)
const flags = ['encode', 's3://bucket/images', '--shard-rows', '25', ...QUICK_FLAGS]
const dir = mkdtempSync(path.join(tmpdir(), 'vtp-trial-'))
const gateway = await startGateway()
let bad = 0
let kills = 0
let revived = 0
try {
  await writeSmallPictures(path.join(gateway.folder, 'bucket', 'images'), images)
  const local = path.join(dir, 'local')
  const whole = await runCli([...flags, '--out', local], { env: gateway.env, timeoutMs: 600_000 })
  if (whole.code !== 0) throw new Error(whole.stderr)
  const undisturbed = JSON.stringify(outputHashes(local))
  for (let run = 1; run <= runs; run++) {
    const began = performance.now()
    const name = `out-${run}`
    const result = await runCluster({
      args: [...flags, '--out', `s3://bucket/${name}`],
      env: gateway.env,
      workers: 4,
      kills: 3,
      killAfterMs: [800, 6000],
      zombie: true,
      timeoutMs: 600_000,
    })
    const out = path.join(gateway.folder, 'bucket', name)
    const same = JSON.stringify(outputHashes(out)) === undisturbed
    const verify = await runCli(['verify', `s3://bucket/${name}`, '--json'], { env: gateway.env })
    const ok = same && verify.code === 0 && result.ends.every((end) => end.code === 0)
    if (!ok) {
      bad++
      console.log(result.ends.map((end) => `${end.code}: ${end.stderr}`).join('\n'), verify.stdout)
    }
    kills += result.killed
    if (result.revived) revived++
    const seconds = ((performance.now() - began) / 1000).toFixed(1)
    console.log(
      `run ${run}: ${ok ? 'ok' : 'WRONG'}, ${result.killed} kills, zombie ${result.revived ? 'revived' : 'was done before'}, ${seconds} s`,
    )
    rmSync(out, { recursive: true, force: true })
  }
} finally {
  await gateway.close()
  rmSync(dir, { recursive: true, force: true })
}
console.log(`${runs} runs of ${images} images: ${runs - bad} right, ${bad} wrong, ${kills} kills, ${revived} zombies`)
process.exitCode = bad > 0 ? 1 : 0
