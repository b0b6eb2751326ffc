/** `vtp train` as users run it: the same checkpoints and log whatever happens, and clear words for wrong input. */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { encode } from '../../src/api/encode.js'
import { type TrainOptions, train as trainInProcess, trainJob } from '../../src/api/train.js'
import { VtpError } from '../../src/errors.js'
import { parsePyYaml } from '../../src/io/pyyaml.js'
import { openShardWriter } from '../../src/io/shards/index.js'
import { openTensorFile } from '../../src/io/tensor-file.js'
import { lookUp, openTorchFile, type TorchTensor } from '../../src/io/torch/file.js'
import { encodeLatentsStats } from '../../src/io/torch-stats.js'
import { createRandom } from '../../src/math/random.js'
import { openStart } from '../../src/train/checkpoint.js'
import { dryRunTrain } from '../../src/train/dry-run.js'
import { exportTraining } from '../../src/train/export/index.js'
import type { TrainResult } from '../../src/train/request.js'
import { goldenPath } from '../golden.js'
import { binPath, type CliResult, runCli } from '../support/cli.js'
import { hashWeightsFolder } from '../support/hash-weights.js'
import { BUILD_TIMEOUT_MS, startGateway } from '../support/s3-gateway.js'
import { randomInteger, signalWhen } from '../support/signal-when.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp train '))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const at = (...parts: string[]): string => path.join(dir, ...parts)

const ROWS = 22

interface ShardSpec {
  format?: 'safetensors' | 'arrow' | 'parquet'
  label?: (row: number) => number | null
  value?: (row: number, drawn: number) => number
  stats?: boolean
  channels?: number
}

/** Latents of 22 rows in two shards, as `vtp encode --flip` leaves them. */
async function latents(name: string, spec: ShardSpec = {}): Promise<string> {
  const {
    format = 'safetensors',
    label = (row) => row % 3,
    value = (_, drawn) => drawn,
    stats = true,
    channels = 4,
  } = spec
  const folder = at(name)
  mkdirSync(folder, { recursive: true })
  for (const [unit, first, count] of [
    [0, 0, 12],
    [1, 12, ROWS - 12],
  ] as const) {
    const columns = ['latents', 'latents_flip'].map((column) => ({
      name: column,
      dtype: 'float32' as const,
      shape: [channels, 4, 4],
    }))
    const writer = await openShardWriter({ format, columns, captions: false, provenance: {} }, unit, folder)
    const rows = Array.from({ length: count }, (_, i) => first + i)
    const random = createRandom(unit)
    const draw = (row: number): Float32Array =>
      Float32Array.from({ length: channels * 16 }, () => value(row, random.normal()))
    const data = rows.map((row) => [draw(row), draw(row)] as const)
    const join = (k: 0 | 1): Float32Array => Float32Array.from(data.flatMap((pair) => [...pair[k]]))
    await writer.append({
      rows: rows.map((row) => ({
        ...{ key: `images/${row}.png`, uri: '', label: label(row), caption: null, width: 64, height: 64 },
        sha256: new Uint8Array(32),
      })),
      tensors: { latents: join(0), latents_flip: join(1) },
    })
    for (const file of (await writer.finish()).files) cpSync(file.path, path.join(folder, file.name))
  }
  for (const left of readdirSync(folder).filter((file) => file.includes('.tmp-'))) rmSync(path.join(folder, left))
  if (stats) {
    const all = (by: number): Float32Array => new Float32Array(channels).fill(by)
    writeFileSync(path.join(folder, 'latents_stats.pt'), encodeLatentsStats(all(0.1), all(1.5)))
  }
  return folder
}

const SETTINGS: Omit<TrainOptions, 'out'> = {
  ...{ size: '16x1x2/1', batchSize: 4, microBatch: 2, lr: 1e-3, seed: 5, steps: 12, saveEvery: 5 },
}
/** The same by the function for programs, which costs no start of a process. */
const trained = (latents: string, out: string, more: Partial<TrainOptions> = {}): Promise<TrainResult> =>
  trainInProcess({ ...SETTINGS, latents, out: at(out), ...more })

const MODEL = { '--size': '16x1x2/1', '--batch-size': '4', '--micro-batch': '2', '--lr': '1e-3', '--seed': '5' }
/** A small model; what is given in `more` takes the place of its settings. */
const train = (data: string, out: string, ...more: string[]): string[] => {
  const settings = Object.entries(MODEL).filter(([flag]) => !more.includes(flag))
  return ['train', data, ...settings.flat(), '--out', at(out), ...more]
}
const SOME = ['--steps', '12', '--save-every', '5']

async function done(args: string[], options = {}): Promise<CliResult> {
  const result = await runCli(args, options)
  expect(result.stderr + result.code).toMatch(/0$/)
  return result
}

type Line = Record<string, unknown>
const log = (out: string): Line[] =>
  readFileSync(at(out, 'log.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)
/** Whole lines so far. */
const lineCount = (out: string): number =>
  existsSync(at(out, 'log.jsonl')) ? readFileSync(at(out, 'log.jsonl'), 'utf8').split('\n').length - 1 : 0
/** What must not differ: the log without its times, and every checkpoint's bytes. */
function outcome(out: string): { log: Line[]; checkpoints: Record<string, string> } {
  const names = readdirSync(at(out, 'checkpoints')).sort()
  const lines = log(out).map(({ seconds: _, imagesPerSecond: __, ...numbers }) => numbers)
  const bytes = names.map((name) => [name, readFileSync(at(out, 'checkpoints', name)).toString('base64')])
  return { log: lines, checkpoints: Object.fromEntries(bytes) as Record<string, string> }
}

let data: string
beforeAll(async () => {
  data = await latents('latents')
})

describe('the same training', { timeout: BUILD_TIMEOUT_MS }, () => {
  let undisturbed: ReturnType<typeof outcome>
  beforeAll(async () => {
    await trained(data, 'whole', { threads: 1 })
    undisturbed = outcome('whole')
    expect(Object.keys(undisturbed.checkpoints)).toEqual(['0000005.pt', '0000010.pt', '0000012.pt'])
    expect(undisturbed.log.map(({ step }) => step)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1))
    expect(undisturbed.log.at(-1)!.epoch).toBeCloseTo(48 / 22, 6)
  })

  it('whatever the number of threads, by the command and by the function for programs', async () => {
    await done(train(data, 'two', ...SOME, '--threads', '2'))
    expect(outcome('two')).toEqual(undisturbed)
  })

  it('whatever the number of threads, where products have fewer rows than columns', async () => {
    const wide = { size: '64x2x4/1', batchSize: 16, microBatch: 16, steps: 4, saveEvery: 4 }
    for (const threads of [1, 2, 5]) await trained(data, `wide ${threads}`, { ...wide, threads })
    for (const threads of [2, 5]) expect(outcome(`wide ${threads}`)).toEqual(outcome('wide 1'))
  })

  it.each(['arrow', 'parquet'] as const)('from %s shards', async (format) => {
    const other = await latents(`latents ${format}`, { format })
    await trained(other, format)
    expect(outcome(format)).toEqual(undisturbed)
  })

  it('after kill -9 at random steps, and in another folder', async () => {
    let folder = 'killed'
    for (let kills = 0; kills < 2; kills++) {
      const reached = randomInteger(3 * kills, 3 * kills + 3)
      const args = train(data, folder, ...SOME, '--checkpoint-seconds', '0')
      await runCli(args, { onSpawn: signalWhen('SIGKILL', () => lineCount(folder) >= reached, 10) })
      const next = `killed ${kills}`
      // The kill may come before there is a folder.
      mkdirSync(at(folder), { recursive: true })
      cpSync(at(folder), at(next), { recursive: true })
      rmSync(at(folder), { recursive: true })
      folder = next
    }
    await done(train(data, folder, ...SOME))
    expect(outcome(folder)).toEqual(undisturbed)
    const manifest = (out: string): string => readFileSync(at(out, '_manifest.json'), 'utf8')
    expect(manifest(folder)).toBe(manifest('whole'))
  })

  it('from shards in a bucket', async () => {
    const gateway = await startGateway()
    try {
      cpSync(data, path.join(gateway.folder, 'bucket', 'latents'), { recursive: true })
      await done(train('s3://bucket/latents', 'remote', ...SOME), { env: gateway.env })
    } finally {
      await gateway.close()
    }
    expect(outcome('remote')).toEqual(undisturbed)
  })

  it('after a disk that was full while a checkpoint was written, with the one before it intact', async () => {
    await trained(data, 'full', { steps: 5 })
    // A file may have 80 kB: the graph of a step fits, a checkpoint does not.
    const limited = ['-c', 'ulimit -f 80; exec "$0" "$@"', process.execPath, binPath, ...train(data, 'full', ...SOME)]
    const { status, stderr } = spawnSync('bash', limited, { encoding: 'utf8' })
    expect(stderr).toMatch(/Cannot write .*checkpoints\/0000010\.pt: the file is larger than/)
    expect(stderr).toMatch(/Try: .*run the same command again/)
    expect(status).toBe(3)
    expect(readdirSync(at('full', 'checkpoints'))).toEqual(['0000005.pt'])
    await trained(data, 'full')
    expect(outcome('full')).toEqual(undisturbed)
  })

  it('after Ctrl-C, which ends with code 4 and loses no step', async () => {
    // Many steps, so that the signal comes before the last.
    const args = train(data, 'stopped', '--steps', '20000', '--save-every', '20000')
    const result = await runCli(args, { onSpawn: signalWhen('SIGINT', () => lineCount('stopped') >= 2) })
    expect(result.stderr).toMatch(/Run the same command again/)
    expect(result.code).toBe(4)
    const before = lineCount('stopped')
    const last = ['--steps', String(before + 3), '--save-every', '20000']
    const again = await done(train(data, 'stopped', ...last))
    expect(again.stderr).toContain(`Continuing after step ${before.toLocaleString('en-US')} of`)
    await trained(data, 'not stopped', { steps: before + 3, saveEvery: 20_000 })
    expect(outcome('stopped')).toEqual(outcome('not stopped'))
  })

  it('with several steps in one run of the engine: the same numbers whatever their number and however it is stopped', async () => {
    await trained(data, 'several', { stepsPerRun: 4 })
    expect(outcome('several').checkpoints['0000012.pt']).toBe(undisturbed.checkpoints['0000012.pt'])
    expect(log('several').map(({ mse }) => mse)).toEqual(undisturbed.log.map(({ mse }) => mse))
    const stop = new AbortController()
    const onProgress = ({ step }: { step: number }): void => (step === 7 ? stop.abort() : undefined)
    await trained(data, 'several stopped', { stepsPerRun: 3, signal: stop.signal, onProgress })
    // The run that was begun is done to its end.
    expect(log('several stopped')).toHaveLength(8)
    await trained(data, 'several stopped', { stepsPerRun: 100 })
    expect(outcome('several stopped')).toEqual(outcome('several'))
    const refused = await runCli(train(data, 'several', ...SOME))
    expect(refused.code).toBe(2)
    expect(refused.stderr).toMatch(/--steps-per-run: "several" there, "1" now/)
  })

  it('with products in half precision: resumed with the scale of its loss; another precision is refused', async () => {
    const half = ['--precision', 'fp16', '--steps-per-run', '4']
    const first = await done(train(data, 'half', ...half, '--steps', '5', '--save-every', '5'))
    expect(first.stderr).toMatch(/products in fp16/)
    await done(train(data, 'half', ...half, ...SOME))
    await trained(data, 'half whole', { precision: 'fp16' })
    expect(outcome('half')).toEqual(outcome('half whole'))
    const last = await openStart(at('half', 'checkpoints', '0000012.pt'))
    const skipped = log('half').filter((line) => line.skipped).length
    const scale = 65_536 / 2 ** skipped
    expect(last).toMatchObject({ step: 12, updates: 12 - skipped, lossScale: { scale } })
    await last.close()
    for (const [i, { mse }] of log('half').entries())
      expect((mse as number) / (undisturbed.log[i]!.mse as number)).toBeCloseTo(1, 1)
    const refused = await runCli(train(data, 'half', ...SOME))
    expect(refused.code).toBe(2)
    expect(refused.stderr).toMatch(/--precision: "fp16" there, "fp32" now/)
    const scaled = await runCli(train(data, 'no', ...SOME, '--loss-scale', '8'))
    expect(scaled.stderr).toMatch(/--loss-scale is for --precision fp16/)
    expect(scaled.code).toBe(2)
  })

  it('with a log that lost lines, which a note names', async () => {
    await trained(data, 'cut log', { steps: 5 })
    const file = at('cut log', 'log.jsonl')
    const lines = readFileSync(file, 'utf8').split('\n')
    writeFileSync(file, [...lines.slice(0, 1), ...lines.slice(3)].join('\n'))
    const notes: string[] = []
    await trained(data, 'cut log', { onNote: (line) => notes.push(line) })
    expect(notes).toContainEqual(expect.stringContaining('log.jsonl has no line of steps 2 to 3.'))
    expect(outcome('cut log')).toEqual({ ...undisturbed, log: undisturbed.log.filter((_, i) => i !== 1 && i !== 2) })
  })

  it('as two trainings: the second goes on from a checkpoint of the first', async () => {
    const init = at('whole', 'checkpoints', '0000005.pt')
    await trained(data, 'second', { init })
    const { log: lines, checkpoints } = outcome('second')
    expect(lines).toEqual(undisturbed.log.slice(5))
    expect(checkpoints['0000012.pt']).toBe(undisturbed.checkpoints['0000012.pt'])
  })

  it('goes on from a checkpoint of train.py that has resumed: the name has the step, the optimiser counts its own', async () => {
    cpSync(at('whole', 'checkpoints', '0000005.pt'), at('0000009.pt'))
    await trained(data, 'behind', { init: at('0000009.pt'), steps: 10 })
    await trained(data, 'behind', { init: at('0000009.pt'), steps: 11 })
    expect(log('behind').map(({ step }) => step)).toEqual([10, 11])
    const last = await openStart(at('behind', 'checkpoints', '0000011.pt'))
    expect(last).toMatchObject({ step: 11, updates: 7 })
    await last.close()
  })

  it('another one is refused in the same folder with what differs, and goes on with --overwrite', async () => {
    const refused = await runCli(train(data, 'two', ...SOME, '--lr', '0.002', '--seed', '6'))
    expect(refused.code).toBe(2)
    expect(refused.stderr).toMatch(/schedule\.lr: 0\.001 there, 0\.002 now/)
    expect(refused.stderr).toMatch(/--seed: 5 there, 6 now/)
    await expect(encode({ source: 'fixtures/images', out: at('two') })).rejects.toThrow(
      /output of another run.*command: vtp train there/s,
    )
    expect(outcome('two')).toEqual(undisturbed)
    await trained(data, 'two', { steps: 2, seed: 6, overwrite: true })
    expect(log('two')).toHaveLength(2)
    expect(readdirSync(at('two', 'checkpoints'))).toEqual(['0000002.pt'])
  })
})

describe('what a training leaves', { timeout: 300_000 }, () => {
  it('the newest checkpoints with --keep, a manifest without times, a report that needs nothing else', async () => {
    const result = await done(train(data, 'kept', '--steps', '6', '--save-every', '2', '--keep', '2', '--json'))
    expect(JSON.parse(result.stdout)).toMatchObject({ step: 6, newSteps: 6, images: 24, complete: true })
    expect(readdirSync(at('kept', 'checkpoints'))).toEqual(['0000004.pt', '0000006.pt'])
    const manifest = JSON.parse(readFileSync(at('kept', '_manifest.json'), 'utf8'))
    expect(manifest).toMatchObject({ kind: 'train', step: 6, checkpoint: 'checkpoints/0000006.pt' })
    const html = readFileSync(at('kept', 'report.html'), 'utf8')
    expect(html).toMatch(/<svg .*Loss by step/)
    expect(html).not.toMatch(/https?:|<script/)
    expect(await trained(data, 'kept', { steps: 6, saveEvery: 2, keep: 2 })).toMatchObject({ newSteps: 0, step: 6 })
    const status = await runCli(['status', at('kept')])
    expect(status.code).toBe(2)
    expect(status.stderr).toMatch(/holds a training/)
  })

  it('nothing with --dry-run, which tells memory, time and disk, also of what would be copied', async () => {
    const other = await latents('latents dry', { format: 'arrow' })
    const { stdout } = await done(train(other, 'dry', ...SOME, '--json', '--dry-run'))
    const found = JSON.parse(stdout)
    expect(found).toMatchObject({
      rows: ROWS,
      step: 0,
      steps: 12,
      disk: { checkpoints: 3, copyBytes: ROWS * 2 * 64 * 4 },
    })
    const { checkpoints } = outcome('whole')
    const written = Buffer.from(checkpoints['0000012.pt']!, 'base64').length
    // The container's own part of a file is small.
    expect(found.disk.checkpointBytes).toBeLessThan(written)
    expect(found.disk.checkpointBytes).toBeGreaterThan(written - 40_000)
    expect(found.time.expectedSeconds).toBeCloseTo(12 * found.time.secondsPerStep, 9)
    expect(found.memory.peakBytes).toBeGreaterThan(found.memory.stateBytes)
    expect(existsSync(at('dry'))).toBe(false)
    const rest = await dryRunTrain(trainJob({ ...SETTINGS, latents: data, out: at('whole'), steps: 20 }).request)
    expect(rest).toMatchObject({ step: 12, disk: { checkpoints: 2, copyBytes: 0 } })
  })

  it('checkpoints that `vtp generate` opens', async () => {
    const init = at('kept', 'checkpoints', '0000006.pt')
    // The bundled tokenizer has other latents: the checkpoint is opened and told apart.
    const refused = await runCli(['generate', '--dit', init, '--stats', at('kept'), '--num', '1', '--out', at('no')])
    expect(refused.stderr).toMatch(/0000006\.pt makes latents of 4 channels; the model .* decodes 64/)
  })
})

describe('samples and evaluations', { timeout: BUILD_TIMEOUT_MS }, () => {
  it('are in folder, log and report, and those of an interrupted run are made up for', async () => {
    const wide = await latents('latents of nano', { channels: 64 })
    const looks: Partial<TrainOptions> = {
      ...{ steps: 4, saveEvery: 4, samplesEvery: 2, grid: { rows: 1, columns: 2 }, samplingSteps: 2 },
      ...{
        evalEvery: 2,
        evalNum: 2,
        reference: goldenPath('metrics', 'ref_stats_dims64.npz'),
        dims: 64,
        weights: hashWeightsFolder(),
      },
    }
    // Stopped between a checkpoint and what is made of it.
    const stop = new AbortController()
    const onProgress = ({ step }: { step: number }): void => (step === 2 ? stop.abort() : undefined)
    const first = await trained(wide, 'seen', { ...looks, signal: stop.signal, onProgress })
    expect(first).toMatchObject({ step: 2, interrupted: true, fid: null })
    await trained(wide, 'seen', looks)
    const judged = log('seen').map(({ fid, fidImages }) => [typeof fid, fidImages])
    expect(judged).toEqual([1, 2, 3, 4].map((step) => (step % 2 === 0 ? ['number', 2] : ['undefined', undefined])))
    expect(readdirSync(at('seen', 'samples'))).toEqual(['0000002.png', '0000004.png'])
    const html = readFileSync(at('seen', 'report.html'), 'utf8')
    expect(html).toMatch(/FID by step/)
    expect(html.match(/<img src="data:image/g)).toHaveLength(2)
    expect(readdirSync(at('seen', '_vtp')).filter((name) => /sampl|evaluation/.test(name))).toEqual([])
  })
})

describe('--export', { timeout: 300_000 }, () => {
  /** Every key that train.py asks for without a default. */
  const NEEDED = {
    data: ['data_path', 'image_size', 'num_classes', 'num_workers'],
    vae: [],
    model: ['model_type', 'use_qknorm'],
    train: ['output_dir', 'exp_name', 'global_batch_size', 'max_steps', 'log_every', 'ckpt_every'],
    optimizer: ['lr', 'beta2'],
    transport: [
      ...['path_type', 'prediction', 'loss_weight', 'train_eps', 'sample_eps', 'use_lognorm', 'use_cosine_loss'],
    ],
  }
  const exported = (more: Partial<TrainOptions>, to: string) =>
    exportTraining(trainJob({ ...SETTINGS, latents: data, out: at('whole'), ...more }).request, at(to))

  it('leaves all that train.py needs to go on from the newest checkpoint', async () => {
    const result = await done(train(data, 'whole', '--steps', '18', '--save-every', '5', '--export', at('to train.py')))
    expect(result.stderr).toMatch(/launch\.sh/)
    const recipe = parsePyYaml(readFileSync(at('to train.py', 'train.yaml'), 'utf8')) as Record<string, Line>
    for (const [section, keys] of Object.entries(NEEDED))
      expect(Object.keys(recipe[section]!)).toEqual(expect.arrayContaining(keys))
    expect(recipe.train).toMatchObject({ max_steps: 18, ckpt_every: 3, global_batch_size: 4, resume: true })
    expect(recipe.optimizer).toEqual({ lr: 0.001, beta2: 0.95 })
    expect(recipe.data).toMatchObject({ data_path: 'data', image_size: 64, num_classes: 3, latent_norm: true })
    const names = readdirSync(at('to train.py', 'data')).sort()
    expect(names).toEqual([...[0, 1].map((i) => `latents_rank00_shard00${i}.safetensors`), 'latents_stats.pt'])
    const shard = readFileSync(at('to train.py', 'data', names[1]!))
    expect(shard).toEqual(readFileSync(at('latents', names[1]!)))
    // Model and average, but no moments, which train.py does not read.
    const [given, made] = await Promise.all([
      openTorchFile(at('whole', 'checkpoints', '0000012.pt')),
      openTorchFile(at('to train.py', 'runs', 'vtp', 'checkpoints', '0000012.pt')),
    ])
    expect([...(made.root as Map<string, unknown>).keys()]).toEqual(['model', 'ema', 'config'])
    for (const name of [
      ['model', 'module.blocks.0.attn.qkv.weight'],
      ['ema', 'blocks.0.attn.qkv.weight'],
    ]) {
      const [a, b] = [given, made].map((file) => file.readFloat32(lookUp(file.root, ...name) as TorchTensor))
      expect(await b).toEqual(await a)
    }
    await Promise.all([given.close(), made.close()])
    const launch = readFileSync(at('to train.py', 'launch.sh'), 'utf8')
    expect(launch).toMatch(/torchrun --nproc_per_node "\$\{GPUS:-1\}" "train_vtp\.py" --config train\.yaml/)
    expect(readFileSync(at('to train.py', 'train_vtp.py'), 'utf8')).toMatch(
      /depth=1, hidden_size=16, patch_size=1, num_heads=2/,
    )
    expect(existsSync(at('to train.py', 'train.sbatch'))).toBe(true)
  })

  it('writes shards of other formats anew, both ways round, and names what train.py does otherwise', async () => {
    const other = await latents('latents for train.py', { format: 'arrow' })
    const made = await exported({ latents: other, out: at('none'), warmup: 5, labelDropout: 0.2 }, 'from arrow')
    expect(made).toMatchObject({ step: 0, checkpoint: 'runs/vtp/checkpoints/0000000.pt', shards: 2, linked: 0 })
    expect(made.notes.join()).toMatch(/neither warm-up nor a cosine.*drops 0\.1 of the labels/)
    const shard = await openTensorFile(at('from arrow', 'data', 'latents_rank00_shard001.safetensors'))
    const wanted = await openTensorFile(at('latents', 'latents_rank00_shard001.safetensors'))
    for (const name of ['latents', 'latents_flip'])
      expect(await shard.readFloat32(name)).toEqual(await wanted.readFloat32(name))
    expect(await shard.readIntegers('labels')).toEqual(await wanted.readIntegers('labels'))
    await Promise.all([shard.close(), wanted.close()])
    expect(existsSync(at('none'))).toBe(false)
  })

  it('refuses a folder that holds something, batches that train.py would wait for, and given batches', async () => {
    await expect(exported({}, 'latents')).rejects.toThrow(/is not empty/)
    await expect(exported({ batchSize: 24, out: at('none') }, 'no export')).rejects.toThrow(/larger than the 22 rows/)
    await expect(exported({ latents: undefined, replay: 'x' }, 'no export')).rejects.toThrow(/needs LATENTS/)
    expect(existsSync(at('no export'))).toBe(false)
    const { request } = trainJob({ ...SETTINGS, latents: data, out: at('none') })
    await expect(exportTraining(request, 's3://bucket/x')).rejects.toThrow(/must be one of this machine/)
    writeFileSync(at('a file'), '')
    await expect(exported({}, 'a file')).rejects.toThrow(/is no folder/)
  })
})

describe('wrong input is told in one line', { timeout: 300_000 }, () => {
  const refused = async (wanted: Promise<unknown>, message: RegExp): Promise<void> => {
    const error = await wanted.then(
      () => expect.unreachable(),
      (caught: unknown) => caught,
    )
    expect(error).toBeInstanceOf(VtpError)
    expect((error as VtpError).message).toMatch(message)
    expect((error as VtpError).suggestions.length).toBeGreaterThan(0)
    expect(existsSync(at('no'))).toBe(false)
  }

  it('latents that are not finite: the step, the samples, and the checkpoint that is good', async () => {
    const bad = await latents('bad', { value: (row, drawn) => (row === 17 ? Number.NaN : drawn) })
    const result = await runCli(train(bad, 'nan', '--steps', '12', '--save-every', '1'))
    expect(result.stderr).toMatch(
      /Step \d+: the loss of 1 of 4 samples is not finite: images\/17\.png \(row 5 of .*\)\. Nothing of this step/,
    )
    expect(result.stderr).toMatch(/Try: /)
    expect(result.stderr).not.toMatch(/ at .*\.js/)
    expect(result.code).toBe(3)
    for (const { mse } of existsSync(at('nan', 'log.jsonl')) ? log('nan') : []) expect(mse).toEqual(expect.any(Number))
  })

  it('no statistics, no classes, classes beyond the model', async () => {
    await refused(trained(await latents('bare', { stats: false }), 'no'), /no statistics of the latents/)
    await refused(
      trained(await latents('unnamed', { label: () => null }), 'no'),
      /22 of 22 rows have no class, the first is images\/0\.png/,
    )
    await refused(trained(data, 'no', { numClasses: 2 }), /images\/2\.png .*has class 2; the model knows 0 to 1/)
    const far = await latents('far', { label: (row) => 2 ** 33 + row })
    await refused(trained(far, 'no'), /images\/0\.png of .* has class 8589934592: that is no number of a class/)
  })

  it('a checkpoint of another shape, latents of another shape, no size, no steps, a batch that does not divide', async () => {
    const init = at('whole', 'checkpoints', '0000005.pt')
    await refused(trained(data, 'no', { init, size: '32x1x2/1' }), /not a checkpoint of .*pos_embed is \[1,16,16\]/)
    await refused(trained(data, 'no', { size: undefined }), /Which model is to be trained is not said/)
    await refused(trained(data, 'no', { heads: 4 }), /--heads 4: --size 16x1x2\/1 has 2/)
    await refused(
      trained(data, 'no', { init, size: undefined, numClasses: 7 }),
      /--num-classes 7: the model of .*0000005\.pt has 3/,
    )
    await refused(trained(data, 'no', { steps: undefined }), /How many steps/)
    await refused(trained(data, 'no', { labelDropout: 1.5 }), /--label-dropout 1\.5 is not from 0 to 1/)
    await refused(trained(data, 'no', { microBatch: 3 }), /--micro-batch 3 does not divide the batch of 4/)
    await refused(trained(at('nowhere'), 'no'), /nowhere does not exist/)
    await refused(trained(data, 'no', { samplesEvery: 1 }), /latents have 4 channels; the model .* decodes 64/)
  })

  it('gradients that overflow at a scale that stays: the steps are skipped, and 25 in a row end the training', async () => {
    const wild = { precision: 'fp16', lossScale: 2 ** 40, stepsPerRun: 10, steps: 30, saveEvery: 20 } as const
    await refused(
      trained(data, 'wild', wild),
      /Step 25: float16 gradients have overflowed 25 steps in a row.*holds step 20/,
    )
    expect(log('wild').map(({ skipped, gradNorm }) => [skipped, gradNorm])).toEqual(
      Array.from({ length: 24 }, () => [true, null]),
    )
  })

  it('a checkpoint that was cut: the one before it is there', async () => {
    await trained(data, 'cut', { steps: 10 })
    const file = at('cut', 'checkpoints', '0000010.pt')
    writeFileSync(file, readFileSync(file).subarray(0, 3000))
    const cut = trained(data, 'cut').catch((error: VtpError) => [error.message, ...error.suggestions].join())
    expect(await cut).toMatch(
      /0000010\.pt is not a valid .*remove that file: the training goes on from the one before it/,
    )
    rmSync(file)
    expect(await trained(data, 'cut')).toMatchObject({ step: 12, newSteps: 7 })
  })

  it('a checkpoint with one wrong bit, and one whose plan is gone', async () => {
    await trained(data, 'bit', { steps: 5 })
    const file = at('bit', 'checkpoints', '0000005.pt')
    const bytes = readFileSync(file)
    bytes[bytes.length >> 1]! ^= 1
    writeFileSync(file, bytes)
    await refused(trained(data, 'bit'), /0000005\.pt is not a valid .*checksum/)
    rmSync(at('bit', '_vtp'), { recursive: true })
    await refused(trained(data, 'bit'), /is not empty and holds no run to continue: .*checkpoints, /)
    expect(await trained(data, 'bit', { overwrite: true })).toMatchObject({ step: 12, newSteps: 12 })
    await refused(trained(data, 'bit', { overwrite: true, microBatch: 3 }), /does not divide/)
    await refused(trained(data, 'bit', { overwrite: true, init: at('bit', 'checkpoints', '0000012.pt') }), /lies in/)
    expect(existsSync(at('bit', 'checkpoints', '0000012.pt'))).toBe(true)
    await refused(trained(data, 'latents', { overwrite: true }), /is the source/)
    expect(readdirSync(data).some((name) => name.endsWith('.safetensors'))).toBe(true)
  })

  it('batches that are no batches, and texts in place of tensors', async () => {
    const replay = at('latents', 'latents_rank00_shard000.safetensors')
    await refused(trained(data, 'no', { latents: undefined, replay, steps: 2 }), /holds no batches/)
    await refused(trained(data, 'no', { latents: undefined, replay: at('none.pt') }), /none\.pt is not a file/)
    const text = at('recipe.yaml')
    writeFileSync(text, 'a: &x [*x]\n')
    await refused(trained(data, 'no', { latents: undefined, replay: text }), /recipe\.yaml is not a file of tensors/)
    await refused(trained(data, 'no', { init: text }), /recipe\.yaml is not a file of tensors/)
    await refused(trained(data, 'no', { ditConfig: text }), /recipe\.yaml is not YAML|recipe\.yaml: /)
  })

  it('samples and evaluations that would fail when they are due', async () => {
    const wide = await latents('wide', { channels: 64 })
    await refused(trained(wide, 'no', { samplesEvery: 4, timestepShift: -1 }), /--timestep-shift -1/)
    await refused(trained(wide, 'no', { evalEvery: 4, reference: at('nope.npz') }), /nope\.npz/)
    await refused(
      trained(wide, 'no', { evalEvery: 4, reference: wide, weights: at('nowhere') }),
      /nowhere is not a folder/,
    )
    expect(existsSync(at('no', 'log.jsonl'))).toBe(false)
  })
})
