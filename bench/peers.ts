/**
 * The engine on the peers of the model card against their own code, in images per second: B-shaped CLIP (open_clip),
 * SigLIP (transformers) and DINOv2 (timm), and the encoder of VA-VAE (hustvl/LightningDiT), all with random weights.
 * Rounds are interleaved; peak memory is that of a whole `vtp encode` and of the Python process.
 *
 *   VTP_PYTHON=PYTHON [LIGHTNINGDIT=CLONE] npx tsx bench/peers.ts [--peers clip,siglip,dinov2,vavae] [--rounds N]
 *     [--batch N] [--clock wall|cpu]
 *
 * PYTHON has torch, open_clip_torch, transformers and timm. On a machine that others use at the same time, --clock cpu
 * counts the processor time of either process, divided by the cores. Build first (npm run build).
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { effectiveCores } from '../src/engine/cores.js'
import { openSessions } from '../src/engine/session-pool.js'
import { type EncoderSpec, openModel } from '../src/model/index.js'
import { encodedPicture } from '../test/support/images.js'
import { interleave, median, pairedRatio, printTable } from './support/measure.js'

/** The output that both sides compute. */
const OUTPUTS: Record<string, EncoderSpec['outputs'][number]> = {
  clip: 'clip',
  siglip: 'clip',
  dinov2: 'patches',
  vavae: 'latents',
}

const { values } = parseArgs({
  options: {
    peers: { type: 'string', default: Object.keys(OUTPUTS).join(',') },
    rounds: { type: 'string', default: '5' },
    batch: { type: 'string', default: '4' },
    clock: { type: 'string', default: 'wall' },
  },
})
const batch = Number(values.batch)
const cores = effectiveCores()
const scratch = mkdtempSync(path.join(tmpdir(), 'vtp-bench-peers-'))
const script = fileURLToPath(new URL('./support/official_peers.py', import.meta.url))
const bin = fileURLToPath(new URL('../bin/run.js', import.meta.url))

/** Starts the official code, which writes its checkpoint to `folder`. */
async function startOfficial(peer: string, folder: string) {
  const python = spawn(
    process.env.VTP_PYTHON ?? 'python3',
    [script, peer, folder, String(batch), String(cores), values.clock],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
      // Threads that wait by spinning would count as work.
      env: { ...process.env, ...(values.clock === 'cpu' ? { OMP_WAIT_POLICY: 'passive', KMP_BLOCKTIME: '0' } : {}) },
    },
  )
  const lines = createInterface({ input: python.stdout })[Symbol.asyncIterator]()
  if ((await lines.next()).value !== 'ready') throw new Error(`the official code of ${peer} did not start`)
  const ask = async (line: string): Promise<number> => {
    python.stdin.write(`${line}\n`)
    return Number((await lines.next()).value)
  }
  return { ask, stop: () => python.stdin.end() }
}

/** Peak memory of `vtp encode` on a few images, MiB. */
function peakOfCommand(folder: string, output: string, out: string): number {
  const args = ['encode', path.join(scratch, 'images'), '--model', folder, '--out', out, '--outputs', output]
  const run = spawnSync(process.execPath, [bin, ...args, '--batch-size', String(batch), '--json'], { encoding: 'utf8' })
  if (run.status !== 0) throw new Error(run.stderr)
  return (JSON.parse(run.stdout) as { peakMemoryBytes: number }).peakMemoryBytes / 2 ** 20
}

async function measurePeer(peer: string): Promise<void> {
  const folder = path.join(scratch, peer)
  const official = await startOfficial(peer, folder)
  const model = await openModel(folder)
  const { height, width } = model.imageSize
  const output = OUTPUTS[peer]!
  const spec = { height, width, outputs: [output], dtype: 'float32', precision: 'fp32', device: 'cpu' } as const
  const graph = await model.compileEncoder({ ...spec, outputs: [output] })
  const session = await openSessions({ graph, lanes: [['cpu']], threads: cores, batchSize: batch })
  const pixels = Uint8Array.from({ length: batch * height * width * 3 }, (_, i) => Math.imul(i, 2654435761) >>> 24)
  const ours = async (): Promise<number> => {
    const before = process.cpuUsage()
    const dims = [batch, height, width, 3]
    const { seconds } = await session.run({ pixels: { data: pixels.slice(), dtype: 'uint8', dims } }, [output])
    const { user, system } = process.cpuUsage(before)
    return batch / (values.clock === 'cpu' ? (user + system) / 1e6 / cores : seconds)
  }
  const theirs = async (): Promise<number> => batch / (await official.ask('run'))
  await ours()
  await theirs()
  const results = await interleave(Number(values.rounds), { vtp: ours, official: theirs })
  const memory = await official.ask('memory')
  official.stop()
  await session.close()
  await model.close()
  printTable(
    `${peer}: ${output}, ${height}×${width}, fp32, batch ${batch}, ${cores} cores, ${values.clock} time; medians of ${values.rounds} rounds`,
    [
      ['vtp, images/s', median(results.vtp!).toFixed(2)],
      ['official, images/s', median(results.official!).toFixed(2)],
      ['ratio, median of the rounds', pairedRatio(results.vtp!, results.official!).toFixed(3)],
      [
        'peak memory, vtp encode',
        `${peakOfCommand(folder, output, path.join(scratch, `${peer} rows`)).toFixed(0)} MiB`,
      ],
      ['peak memory, official', `${memory.toFixed(0)} MiB`],
    ],
  )
}

mkdirSync(path.join(scratch, 'images'))
for (let i = 0; i < batch * 2; i++)
  writeFileSync(path.join(scratch, 'images', `${i}.jpg`), await encodedPicture(i, 300, 280, 'jpeg'))
for (const peer of values.peers.split(',')) await measurePeer(peer)
rmSync(scratch, { recursive: true, force: true })
