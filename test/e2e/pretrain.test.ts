/** `vtp pretrain SOURCE`: batches from images, checkpoints that every command opens, resuming to the bit, bad input. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { cpuDevice } from '../../src/engine/device.js'
import { openTensorFile } from '../../src/io/tensor-file.js'
import type { PretrainDryRun } from '../../src/pretrain/dry-run.js'
import { runPretrain } from '../../src/pretrain/job.js'
import type { PretrainRequest } from '../../src/pretrain/request.js'
import { repoRoot, runCli, sharedTempDir, tempDir } from '../support/cli.js'
import { signalWhen } from '../support/signal-when.js'
import { writeSmallPictures } from '../support/small-images.js'

/** Everything that a recipe can have, as small as it goes. */
const RECIPE = {
  model: {
    image_size: 32,
    vision_embed_dim: 16,
    vision_depth: 2,
    vision_num_heads: 2,
    vision_feature_bottleneck: 8,
    text_embed_dim: 8,
    text_depth: 1,
    text_num_heads: 1,
    decoder_embed_dim: 16,
    decoder_depth: 1,
    decoder_num_heads: 2,
  },
  config: {
    n_steps: 4,
    save_every: 2,
    image_size: 32,
    global_size: 32,
    local_size: 16,
    batch: { clip: 6, ssl: 4, rec: 3 },
    drop: { ssl_drop_rate: 0.3 },
    head: { K: 24, layers: 2, hidden: 16, bottleneck: 8 },
    masks: { least: 1 },
    pixel_loss: 'laplacian',
    identical_captions: 'positives',
  },
  hyper_parameters: {
    ...{ w_clip: 1, w_ssl: 1, w_rec: 0.1, w_lpips: 0, w_koleo: 0.1, local_crops: 2, centering: 'centering' },
    ...{ layer_decay: 0.9, patch_embed_lr_mult: 0.2, betas: [0.9, 0.98], eps: 1e-6, clip_grad: 3 },
    freeze_last_layer_iters: 1,
    schedules: {
      lr: { base_value: 1e-2, final_value: 0, warmup_iters: 1 },
      weight_decay: { base_value: 0.04, final_value: 0.4 },
      momentum: { base_value: 0.9, final_value: 1 },
      teacher_temp: { base_value: 0.07, final_value: 0.07, warmup_share: 0.5, start_warmup_value: 0.04 },
    },
  },
}

const dir = sharedTempDir()
const images = path.join(dir, 'images')
const recipe = path.join(dir, 'recipe.json')
const whole = path.join(dir, 'whole')

const pretrain = (out: string, ...more: string[]) =>
  runCli(['pretrain', images, '--recipe', recipe, '--out', out, '--threads', '1', '--json', ...more])

const bytesOf = (out: string, step: string): Buffer[] =>
  ['config.json', 'model.safetensors', 'training.json', 'training.safetensors'].map((name) =>
    readFileSync(path.join(out, 'checkpoints', step, name)),
  )

interface Line {
  step: number
  replaced?: number
  [name: string]: unknown
}
const logOf = (out: string): Line[] =>
  readFileSync(path.join(out, 'log.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)

beforeAll(async () => {
  await writeSmallPictures(images, 20)
  writeFileSync(path.join(images, 'class 1', 'damaged.jpg'), 'no image')
  writeFileSync(recipe, JSON.stringify(RECIPE))
  const run = await pretrain(whole, '--samples-every', '4', '--eval-every', '4', '--eval-source', images)
  expect(run.code, run.stderr).toBe(0)
  expect(JSON.parse(run.stdout)).toMatchObject({ step: 4, newSteps: 4, images: 24, complete: true, interrupted: false })
})

describe('a pre-training', () => {
  it('logs every loss, what is watched, and the evaluation; a bad image is replaced and counted', () => {
    const lines = logOf(whole)
    expect(lines.map(({ step }) => step)).toEqual([1, 2, 3, 4])
    for (const name of ['clip', 'dino_local', 'dino_global', 'ibot', 'koleo', 'rec_laplacian', 'target_entropy', 'lr'])
      expect(lines[0], name).toHaveProperty(name, expect.any(Number))
    expect(lines[0]!.logit_scale).toBeCloseTo(1 / 0.07, 4)
    expect(lines[2]!.logit_scale).not.toBe(lines[0]!.logit_scale)
    expect(lines[3]).toMatchObject({ zeroshot: expect.any(Number), psnr: expect.any(Number) })
    // 24 samples of 21 images: every one was due, and some twice.
    expect(lines.reduce((sum, { replaced = 0 }) => sum + replaced, 0)).toBeGreaterThanOrEqual(1)
    const report = readFileSync(path.join(whole, 'report.html'), 'utf8')
    for (const text of ['Contrastive loss', 'Entropy of the targets', 'Zero-shot', 'data:image/webp'])
      expect(report).toContain(text)
  })

  it('writes checkpoints in the published layout, which other commands open', async () => {
    const model = path.join(whole, 'checkpoints', '0000004')
    const info = await runCli(['model', 'info', model, '--json'])
    expect(info.code, info.stderr).toBe(0)
    const file = await openTensorFile(path.join(model, 'model.safetensors'))
    expect(file.dtypes.get('trunk.rope_embed.periods')).toBe('BF16')
    await file.close()
  })

  it('killed between steps, goes on to the same bytes with other threads and workers', async () => {
    const out = path.join(dir, 'killed')
    const args = ['pretrain', images, '--recipe', recipe, '--out', out, '--threads', '2']
    const isSaved = (): boolean => existsSync(path.join(out, 'checkpoints', '0000002'))
    expect((await runCli(args, { onSpawn: signalWhen('SIGKILL', isSaved) })).signal).toBe('SIGKILL')
    const again = await pretrain(out, '--workers', '1')
    expect(again.code, again.stderr).toBe(0)
    expect(JSON.parse(again.stdout).newSteps).toBe(2)
    expect(bytesOf(out, '0000004')).toEqual(bytesOf(whole, '0000004'))
    const numbers = (line: Line): object => ({ ...line, seconds: 0, imagesPerSecond: 0 })
    const plain = logOf(whole).map(({ zeroshot: _z, psnr: _p, ssim: _s, protocol: _t, ...line }) => line)
    expect(logOf(out).map(numbers)).toEqual(plain.map(numbers))
    expect(readdirSync(path.join(out, '_vtp')).filter((name) => name.startsWith('resume'))).toEqual([])
  })

  it('begins from a model without a training state, and leaves out what no loss reaches', async () => {
    const out = path.join(dir, 'alone')
    const init = path.join(dir, 'published')
    mkdirSync(init)
    for (const name of ['config.json', 'model.safetensors'])
      writeFileSync(path.join(init, name), readFileSync(path.join(whole, 'checkpoints', '0000004', name)))
    const off = ['--set', 'hyper_parameters.w_ssl=0', '--set', 'hyper_parameters.w_clip=0', '--steps', '2']
    const run = await pretrain(out, '--init', init, ...off, '--set', 'model.decoder_depth=2')
    expect(run.code, run.stderr).toBe(0)
    expect(run.stderr).toContain('decoder_depth 1 (the recipe says 2)')
    expect(Object.keys(logOf(out)[0]!).filter((key) => /clip|dino|ibot|koleo|entropy/.test(key))).toEqual([])
    const [before, after] = await Promise.all(
      [init, path.join(out, 'checkpoints', '0000002')].map((folder) =>
        openTensorFile(path.join(folder, 'model.safetensors')),
      ),
    )
    expect(await after!.readFloat32('token_embedding.weight')).toEqual(
      await before!.readFloat32('token_embedding.weight'),
    )
    expect(await after!.readFloat32('pixel_decoder.norm.weight')).not.toEqual(
      await before!.readFloat32('pixel_decoder.norm.weight'),
    )
    await Promise.all([before!.close(), after!.close()])
  })

  it('nothing with --dry-run, which tells memory, time and disk of a step that it computes', async () => {
    const out = path.join(dir, 'dry')
    const run = await pretrain(out, '--dry-run')
    expect(run.code, run.stderr).toBe(0)
    const { memory, time, disk, ...about } = JSON.parse(run.stdout) as PretrainDryRun
    expect(about).toMatchObject({ rows: 21, batch: { clip: 6, ssl: 4, rec: 3 }, step: 0, steps: 4 })
    expect(memory.peakBytes).toBeGreaterThan(memory.stateBytes + memory.activationBytes)
    expect(time!.expectedSeconds).toBeCloseTo(4 * time!.secondsPerStep, 6)
    expect(disk.checkpoints).toBe(2)
    const saved = bytesOf(whole, '0000004').reduce((sum, bytes) => sum + bytes.length, 0)
    expect(Math.abs(disk.checkpointBytes / saved - 1)).toBeLessThan(0.05)
    expect(existsSync(out)).toBe(false)
  })

  it("runs the paper's recipe, cut down", async () => {
    const out = path.join(dir, 'cut')
    const small = {
      ...{ vision_embed_dim: 16, vision_depth: 1, vision_num_heads: 1, vision_feature_bottleneck: 8 },
      ...{ text_embed_dim: 8, text_depth: 1, text_num_heads: 1 },
      ...{ decoder_embed_dim: 16, decoder_depth: 1, decoder_num_heads: 1 },
    }
    const settings = [
      ...Object.entries(small).map(([key, value]) => `model.${key}=${value}`),
      ...['image_size=32', 'global_size=32', 'local_size=16', 'batch={clip: 4, ssl: 2, rec: 2}', 'masks.least=1'].map(
        (setting) => `config.${setting}`,
      ),
      'config.head={K: 16, hidden: 8, bottleneck: 4}',
    ]
    const flags = settings.flatMap((setting) => ['--set', setting])
    const file = path.join(repoRoot, 'recipes', 'vtp-l.yaml')
    const run = await runCli(['pretrain', images, '--recipe', file, '--steps', '2', '--out', out, ...flags])
    expect(run.code, run.stderr).toBe(0)
    expect(logOf(out).map(({ step }) => step)).toEqual([1, 2])
  })

  it('in a folder that holds another one is refused with what differs', async () => {
    const run = await pretrain(whole, '--set', 'hyper_parameters.w_rec=0.5')
    expect(run.code).toBe(2)
    expect(run.stderr).toContain('hyperParameters.w_rec: 0.1 there, 0.5 now')
  })
})

describe('refused before the first step', () => {
  const run = (source: string, settings: string[] = [], more: Partial<PretrainRequest> = {}) =>
    runPretrain({
      ...{ recipe, ...more },
      ...{ source, settings, seed: 0, dest: path.join(tempDir(), 'out'), exported: 'student' },
      ...{ maxPixels: 1e8, workers: 1, threads: 1, device: cpuDevice(), cacheDir: tempDir(), overwrite: false },
    })

  it.each([
    [
      'a batch of one with KoLeo',
      'config.batch.ssl=1',
      'config.batch.ssl is 1: images are compared with each other (KoLeo)',
    ],
    ['fewer images than a batch', 'config.batch.clip=60', 'has 21 images; a batch has 60'],
    ['a head of one prototype', 'config.head.K=1', 'config.head.K: '],
    ['areas the wrong way round', 'config.views.global_area=[1, 0.4]', 'config.views.global_area: the first number'],
    ['shares of masks the wrong way round', 'config.masks.ratio=[0.9, 0.1]', 'config.masks.ratio: the first number'],
    ['a crop that is no whole number of patches', 'config.local_size=20', 'local_size 20 is not a multiple'],
    ['a key that is not known', 'config.imagesize=64', 'unknown keys: imagesize'],
    ['a key of the model that is not known', 'model.vision_width=64', 'model has unknown keys: vision_width'],
    ['a part of a recipe that is not known', 'confg.image_size=64', 'the recipe has unknown keys: confg'],
    ['a setting that is none', 'w_clip', '--set w_clip is not KEY=VALUE'],
    ['patches that the decoder cannot fill', 'model.vision_patch_size=8', 'has patches of 8: the decoder makes 16'],
    ['a loss whose part the model lacks', 'model.train_clip=false', 'w_clip has a weight'],
  ])('%s', async (_, setting, message) => {
    await expect(run(images, [setting])).rejects.toThrow(message)
  })

  it('a step that no memory holds', async () => {
    const file = path.join(repoRoot, 'recipes', 'vtp-l.yaml')
    await expect(run(images, ['hyper_parameters.w_lpips=0'], { recipe: file })).rejects.toThrow(
      /A step needs about [\d,]+ GB of memory/,
    )
  })

  it('a batch that is too large, with what would fit', async () => {
    const settings = ['config.batch={clip: 2, ssl: 60, rec: 30}']
    await expect(run(images, settings)).rejects.toMatchObject({
      suggestions: ['give more images, or smaller batches: --set config.batch.ssl=21 --set config.batch.rec=21'],
    })
  })

  it('templates that cannot be read, where images have no classes', async () => {
    const folder = path.join(images, 'class 0')
    const templates = path.join(tempDir(), 'none.txt')
    const settings = ['config.batch={clip: 2, ssl: 2, rec: 2}']
    await expect(run(folder, settings, { templates })).rejects.toThrow(/--templates .*none.txt cannot be read/)
  })

  it('held-out images without classes', async () => {
    const evaluation = { source: path.join(images, 'class 0'), classnames: 'folder' }
    await expect(run(images, [], { evaluation, evalEvery: 100 })).rejects.toThrow('has no label')
  })

  it('images without captions or classes', async () => {
    const settings = ['config.batch={clip: 2, ssl: 2, rec: 2}']
    await expect(run(path.join(images, 'class 0'), settings)).rejects.toThrow('neither captions nor classes')
  })
})

it('a batch of which no image can be read ends the run with the first reason', async () => {
  const folder = path.join(tempDir(), 'bad', 'things')
  mkdirSync(folder, { recursive: true })
  for (let i = 0; i < 8; i++) writeFileSync(path.join(folder, `${i}.jpg`), 'no image')
  const run = await runCli(['pretrain', path.dirname(folder), '--recipe', recipe, '--out', path.join(tempDir(), 'out')])
  expect(run.code).toBe(3)
  expect(run.stderr).toMatch(/Step 1: .*could not be read; the first is .*\.jpg/)
  expect(run.stderr).not.toMatch(/\n\s+at /)
})

describe('a run of some of the losses', () => {
  const run = async (source: string, settings: string[], more: Partial<PretrainRequest> = {}) => {
    const notes: string[] = []
    const dest = path.join(tempDir(), 'out')
    const result = await runPretrain({
      ...{ recipe, source, settings, seed: 0, dest, exported: 'student', steps: 1, onNote: (line) => notes.push(line) },
      ...{ maxPixels: 1e8, workers: 1, threads: 1, device: cpuDevice(), cacheDir: tempDir(), overwrite: false },
      ...more,
    })
    return { result, notes, line: logOf(dest)[0]! }
  }
  const off = (...names: string[]): string[] => names.map((name) => `hyper_parameters.w_${name}=0`)

  it('is not judged by what none of them trains, and needs no classes for it', async () => {
    const evaluation = { source: path.join(images, 'class 0'), classnames: 'folder' }
    const { line } = await run(images, off('clip', 'ssl'), { evaluation, evalEvery: 1 })
    expect(line).toMatchObject({ psnr: expect.any(Number) })
    expect(line).not.toHaveProperty('zeroshot')
    const other = await run(images, off('rec', 'ssl'), { evaluation: { ...evaluation, source: images }, evalEvery: 1 })
    expect(other.line).toMatchObject({ zeroshot: expect.any(Number) })
    expect(other.line).not.toHaveProperty('psnr')
  })

  it('may take one image where no loss compares images', async () => {
    const { line } = await run(images, [...off('clip', 'rec', 'koleo'), 'config.batch.ssl=1'])
    expect(line).toMatchObject({ ibot: expect.any(Number), total: expect.any(Number) })
  })

  it.each([undefined, 'empty'])('takes the Laplacian where LPIPS has no weights: --weights %s', async (name) => {
    const weights = name && tempDir()
    const lpips = ['config.pixel_loss=l1', 'hyper_parameters.w_lpips=1']
    const { line, notes } = await run(images, [...off('clip', 'ssl'), ...lpips], { weights })
    expect(line).toMatchObject({ rec_laplacian: expect.any(Number) })
    const place = weights === undefined ? '(--weights DIR)' : `in --weights ${weights}`
    expect(notes).toContainEqual(expect.stringContaining(`There are no weights of LPIPS ${place}: L1 on a Laplacian`))
  })

  it('takes captions of images without classes, with templates for the held-out ones', async () => {
    const folder = tempDir()
    const source = path.join(images, 'class 0')
    for (const name of readdirSync(source).slice(0, 3)) {
      writeFileSync(path.join(folder, name), readFileSync(path.join(source, name)))
      writeFileSync(path.join(folder, `${path.parse(name).name}.txt`), `picture ${name}`)
    }
    const templates = path.join(tempDir(), 'templates.txt')
    writeFileSync(templates, 'a {c}')
    const { line } = await run(folder, [...off('ssl', 'rec'), 'config.batch.clip=3'], { templates })
    expect(line).toMatchObject({ clip: expect.any(Number) })
  })
})
