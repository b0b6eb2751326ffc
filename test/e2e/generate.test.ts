/** `vtp generate` as users run it: the same images whatever happens, and clear words for wrong input. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { randomDit, vtpStyle } from '../../bench/support/random-dit.js'
import { encodeLatentsStats } from '../../src/io/torch-stats.js'
import { type CliResult, runCli } from '../support/cli.js'
import { hashWeightsFolder } from '../support/hash-weights.js'
import { writePictures } from '../support/images.js'
import { outputHashes } from '../support/parts.js'
import { startGateway } from '../support/s3-gateway.js'
import { namesIn, randomInteger, signalWhen } from '../support/signal-when.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp generate '))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const at = (...parts: string[]): string => path.join(dir, ...parts)

let dit: string
beforeAll(async () => {
  // Small, with everything that the VTP configurations have; the bundled tokenizer decodes its latents.
  dit = await randomDit(dir, 'small', vtpStyle({ hiddenSize: 96, depth: 3, numHeads: 4 }))
  writeFileSync(
    at('latents_stats.pt'),
    encodeLatentsStats(new Float32Array(64).fill(0.1), new Float32Array(64).fill(1.5)),
  )
})

const COMMON = ['--num', '12', '--shard-rows', '4', '--steps', '4', '--timestep-shift', '0.3', '--cfg-scale', '1.5']
const generate = (out: string, ...more: string[]): string[] => [
  'generate',
  '--dit',
  dit,
  '--stats',
  at('latents_stats.pt'),
  ...COMMON,
  '--out',
  at(out),
  ...more,
]

async function done(args: string[]): Promise<CliResult> {
  const result = await runCli(args)
  expect(result.stderr + result.code).toMatch(/0$/)
  return result
}

describe('the same images', { timeout: 300_000 }, () => {
  let undisturbed: Record<string, string>

  beforeAll(async () => {
    await done(generate('whole'))
    undisturbed = outputHashes(at('whole'))
    expect(Object.keys(undisturbed).filter((name) => name.endsWith('.png'))).toHaveLength(12)
    // Twelve different ones.
    expect(new Set(Object.values(undisturbed)).size).toBe(13)
  })

  it('whatever the batch size', async () => {
    for (const size of ['1', '5']) {
      await done(generate(`batch ${size}`, '--batch-size', size))
      expect(outputHashes(at(`batch ${size}`)), size).toEqual(undisturbed)
    }
  })

  it('from three workers at once', async () => {
    const worker = (index: number) => done(generate('shared', '--worker-index', String(index), '--worker-count', '3'))
    await Promise.all([worker(0), worker(1), worker(2)])
    expect(outputHashes(at('shared'))).toEqual(undisturbed)
  })

  it('in a bucket, by two workers', async () => {
    const gateway = await startGateway()
    try {
      const worker = (index: number) => {
        const args = generate('unused', '--worker-index', String(index), '--worker-count', '2')
        return runCli(args.with(args.indexOf('--out') + 1, 's3://bucket/samples'), { env: gateway.env })
      }
      for (const { stderr, code } of await Promise.all([worker(0), worker(1)])) expect(stderr + code).toMatch(/0$/)
      expect(outputHashes(path.join(gateway.folder, 'bucket', 'samples'))).toEqual(undisturbed)
      // Samples there are a set for the metrics, and so are shards with pixels.
      await writePictures(at('photos'), 3)
      const shards = ['encode', at('photos'), '--outputs', 'pixels', '--out', 's3://bucket/pixels']
      expect((await runCli(shards, { env: gateway.env })).code).toBe(0)
      const fid = ['fid', 's3://bucket/samples', 's3://bucket/pixels', '--dims', '64', '--json']
      const judged = await runCli([...fid, '--weights', hashWeightsFolder()], { env: gateway.env })
      expect(JSON.parse(judged.stdout).images, judged.stderr).toEqual([12, 3])
    } finally {
      await gateway.close()
    }
  })

  it('after kill -9 at random moments; finished images of a killed run are kept', async () => {
    const finished = (): string[] => namesIn(at('killed'), /^\d{6}\.png$/)
    const madeAt = (names: string[]): number[] => names.map((name) => statSync(at('killed', name)).mtimeMs)
    // In the work on each of the three units: with one or two of its four images there.
    for (const before of [0, 4, 8]) {
      const count = before + randomInteger(1, 2)
      const run = await runCli(generate('killed', '--batch-size', '1'), {
        onSpawn: signalWhen('SIGKILL', () => finished().length >= count, 20),
      })
      expect(run.signal, run.stderr).toBe('SIGKILL')
    }
    const kept = finished()
    const times = madeAt(kept)
    await done(generate('killed'))
    expect(outputHashes(at('killed'))).toEqual(undisturbed)
    expect(madeAt(kept)).toEqual(times)
    expect(namesIn(at('killed', '_vtp', 'commits'), /^\d+\.json$/)).toHaveLength(3)
  })

  it('grown from fewer in the same folder: what was there stays, and a smaller number is refused', async () => {
    const num = (count: number): string[] => {
      const args = generate('grown')
      return args.with(args.indexOf('--num') + 1, String(count))
    }
    const images = (hashes: Record<string, string>): [string, string][] =>
      Object.entries(hashes).filter(([name]) => name.endsWith('.png'))
    // Its second unit is not full.
    await done(num(6))
    const before = statSync(at('grown', '000005.png')).mtimeMs
    await done(num(12))
    expect(images(outputHashes(at('grown')))).toEqual(images(undisturbed))
    expect(statSync(at('grown', '000005.png')).mtimeMs).toBe(before)
    await done(['verify', at('grown')])
    const refused = await runCli(num(11))
    expect(refused.code).toBe(2)
    expect(refused.stderr).toMatch(/--num: 12 there, 11 now/)
  })

  it('after Ctrl-C, which ends with code 4 and says how to continue', async () => {
    const args = generate('stopped')
    const attempts = at('stopped', '_vtp', 'attempts')
    // Once a unit is under way, whose sampling takes far longer than a signal.
    const result = await runCli(args.with(args.indexOf('--steps') + 1, '400'), {
      onSpawn: signalWhen('SIGINT', () => namesIn(attempts, /./).length > 0, 200),
    })
    expect(result.code).toBe(4)
    expect(result.stderr).toMatch(/Run the same command again/)
    // No attempt is left over: the unit was given back.
    expect(existsSync(attempts) ? readdirSync(attempts) : []).toEqual([])
  })

  it('another seed gives others; other settings are refused in the same folder with what differs', async () => {
    await done(generate('seed', '--seed', '1'))
    const other = outputHashes(at('seed'))
    for (const [name, hash] of Object.entries(undisturbed)) expect(other[name]).not.toBe(hash)
    const refused = await runCli(generate('whole', '--seed', '1'))
    expect(refused.code).toBe(2)
    expect(refused.stderr).toMatch(/noise: "philox4x32-10 seed 0" there, "philox4x32-10 seed 1" now/)
    const encode = await runCli(['encode', at('whole'), '--out', at('whole')])
    expect(encode.code).toBe(2)
  })
})

describe('what a run leaves', { timeout: 300_000 }, () => {
  it('.npz in the layout of ADM, a preview, latents with classes; again with nothing to do', async () => {
    const args = generate('all', '--npz', '--grid', '2x3', '--latents', 'safetensors', '--classes', '5,9', '--json')
    const result = JSON.parse((await done(args)).stdout) as Record<string, unknown>
    expect(result).toMatchObject({ images: 12, newImages: 12, unitsTotal: 3, complete: true })
    expect(result.extras).toEqual(['samples.npz', 'preview/grid-2x3.png'])
    const first = await sharp(readFileSync(at('all', '000000.png')))
      .raw()
      .toBuffer()
    const npz = readFileSync(at('all', 'samples.npz'))
    const head = npz.indexOf("{'descr': '|u1', 'fortran_order': False, 'shape': (12, 256, 256, 3), }")
    expect(head).toBeGreaterThan(0)
    const start = npz.indexOf('\n', head) + 1
    expect(npz.subarray(start, start + first.length).equals(first)).toBe(true)
    const preview = await sharp(readFileSync(at('all', 'preview', 'grid-2x3.png'))).metadata()
    expect([preview.width, preview.height]).toEqual([3 * 256, 2 * 256])
    const { openTensorFile } = await import('../../src/io/tensor-file.js')
    const latents = await openTensorFile(at('all', 'latents_rank00_shard002.safetensors'))
    expect(latents.shapes.get('latents')).toEqual([4, 64, 16, 16])
    expect(await latents.readIntegers('labels')).toEqual([5, 9, 5, 9])
    await latents.close()
    // The samples are a set for the metrics: neither the preview nor the latents count.
    const fid = ['fid', at('all'), at('all'), '--dims', '64', '--weights', hashWeightsFolder(), '--json']
    expect(JSON.parse((await done(fid)).stdout).images).toEqual([12, 12])
    const again = await done(args)
    expect(JSON.parse(again.stdout)).toMatchObject({ images: 12, newImages: 0, complete: true })
    expect(again.stderr).toMatch(/Nothing is left to do/)
  })
})

describe('classes of a preview', { timeout: 300_000 }, () => {
  it('are the demonstration ones only where neither number, noise nor classes are said', async () => {
    const labels = async (...more: string[]): Promise<string> => {
      const args = ['generate', '--dit', dit, '--stats', at('latents_stats.pt'), '--grid', '2x4', '--out', at('no')]
      return JSON.parse((await done([...args, ...more, '--dry-run', '--json'])).stdout).labels
    }
    expect(await labels()).toBe('balanced, classes 975,3,207,387,388,88,979,279')
    expect(await labels('--classes', 'all')).toBe('random, all classes')
    expect(await labels('--num', '50')).toBe('random, all classes')
    expect(await labels('--num', '50', '--classes', 'all')).toBe('random, all classes')
  })
})

describe('a finished run', { timeout: 300_000 }, () => {
  it('status and verify know the run; a changed image is found', async () => {
    await done(generate('checked'))
    const status = await done(['status', at('checked'), '--json'])
    expect(JSON.parse(status.stdout)).toMatchObject({ images: 12, imagesDone: 12, complete: true, finalized: true })
    await done(['verify', at('checked')])
    copyFileSync(at('checked', '000001.png'), at('checked', '000002.png'))
    const damaged = await runCli(['verify', at('checked')])
    expect(damaged.code).toBe(1)
    expect(damaged.stderr + damaged.stdout).toMatch(/000002\.png has /)
  })
})

describe('wrong input is told in one line and ends with code 2', { timeout: 300_000 }, () => {
  const recipe = (type: string): string => `
ckpt_path: null
data: {data_path: ${JSON.stringify(dir)}, image_size: 256, latent_multiplier: 1.0, num_classes: 1000}
model: {model_type: ${type}, in_chans: 64, use_qknorm: false, use_rmsnorm: true, use_rope: true, use_swiglu: true}
sample: {mode: ODE, sampling_method: euler, num_sampling_steps: 250, cfg_scale: 1.0, fid_num: 50000}
train: {global_seed: 3}
transport: {path_type: Linear, prediction: velocity}
vae: {hf_model_path: /path/to/pretrained/vtp, normalize_type: imagenet}
`
  const refused = async (args: string[], message: RegExp): Promise<void> => {
    const result = await runCli(args)
    expect(result.stderr).toMatch(message)
    expect(result.stderr).toMatch(/Try: /)
    expect(result.stderr).not.toMatch(/ at .*\.js/)
    expect(result.code).toBeGreaterThan(1)
  }

  it('a checkpoint of another shape than the configuration, which is read as it is', async () => {
    writeFileSync(at('recipe.yaml'), recipe('LightningDiT-XL/1'))
    for (const flag of ['--dit-config', '--config']) {
      await refused(
        ['generate', '--dit', dit, flag, at('recipe.yaml'), '--num', '1', '--out', at('no')],
        /is not a checkpoint of LightningDiT-XL\/1 .*pos_embed is \[1,256,96\], not \[1,256,1152\].*and \d+ more/,
      )
    }
  })

  it('a file that holds other tensors, or none', async () => {
    await refused(generate('no').with(2, at('latents_stats.pt')), /not a LightningDiT checkpoint/)
    writeFileSync(at('text.safetensors'), 'not a checkpoint')
    await refused(generate('no').with(2, at('text.safetensors')), /not a valid safetensors file/)
  })

  it('a pickle with code in it', async () => {
    // cos\nsystem: what would run a command under pickle.load.
    const pickle = Buffer.from('\x80\x02cos\nsystem\nX\x04\x00\x00\x00trueq\x00\x85R.', 'latin1')
    writeFileSync(at('evil.pt'), pickle)
    await refused(generate('no').with(2, at('evil.pt')), /evil\.pt/)
  })

  it('statistics of another number of channels', async () => {
    writeFileSync(at('other.pt'), encodeLatentsStats(new Float32Array(16).fill(1), new Float32Array(16).fill(1)))
    await refused(generate('no').with(4, at('other.pt')), /of 16 channels .*latents have 64/)
    await refused(generate('no').with(4, at('missing.pt')), /no latent statistics at .*missing\.pt/)
  })

  it('classes that the model does not know', async () => {
    await refused(generate('no', '--classes', '207,1000'), /no class 1000; the model knows 0 to 999/)
    await refused(generate('no', '--classes', 'cat'), /"cat" is not a class/)
  })

  it('no steps, an unknown sampler', async () => {
    const steps = generate('no')
    await refused(steps.with(steps.indexOf('--steps') + 1, '0'), /--steps 0: the sampler needs at least 2 points/)
    await refused(generate('no', '--sampler', 'ddim'), /sampler ddim is not known/)
  })

  it('a folder with images of somebody else', async () => {
    mkdirSync(at('foreign'))
    writeFileSync(at('foreign', '000000.png'), 'a picture of somebody')
    await refused(generate('foreign'), /holds images such as 000000\.png that no run of vtp has made/)
  })
})
