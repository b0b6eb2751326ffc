/** `vtp pretrain SOURCE --stage decoder`: what it leaves, that the tokenizer stays as it is, resuming to the bit, bad input. */
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { openSafetensors } from '../../src/io/safetensors.js'
import { writeSafetensors } from '../../src/io/write-safetensors.js'
import { repoRoot, runCli, sharedTempDir, tempDir } from '../support/cli.js'
import { encodedPicture } from '../support/images.js'
import { runHere } from '../support/run-here.js'
import { signalWhen } from '../support/signal-when.js'
import { writeSmallPictures } from '../support/small-images.js'

const dir = sharedTempDir()
const images = path.join(dir, 'images')
const whole = path.join(dir, 'whole')
const nano = path.join(repoRoot, 'models', 'vtp-nano')
const ROWS = 7

/** Small images, and a discriminator that counts from the second step on. Flags in `more` take the place of others. */
function argsOf(out: string, ...more: string[]): string[] {
  const flags = [...['--init', 'nano', '--threads', '1', '--steps', '4', '--save-every', '2', '--out', out, ...more]]
  const last = new Map<string, string>()
  const settings = ['config.image_size=32', 'config.batch=2', 'hyper_parameters.disc_start=1']
  for (let i = 0; i < flags.length; i += 2)
    if (flags[i] === '--set') settings.push(flags[i + 1]!)
    else last.set(flags[i]!, flags[i + 1]!)
  return [
    ...['pretrain', images, '--stage', 'decoder', '--recipe', 'recipes/decoder.yaml', '--json'],
    ...[...last].flat(),
    ...settings.flatMap((setting) => ['--set', setting]),
  ]
}
const train = (out: string, ...more: string[]) => runHere(argsOf(out, ...more))

const digest = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex')
/** Of the files of a checkpoint. */
const digestsOf = (out: string, step: string): string[] =>
  ['config.json', 'model.safetensors', 'training.json', 'training.safetensors'].map((name) =>
    digest(path.join(out, 'checkpoints', step, name)),
  )

type Line = { step: number } & Record<string, unknown>
const logOf = (out: string): Line[] =>
  readFileSync(path.join(out, 'log.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)

beforeAll(async () => {
  await writeSmallPictures(images, ROWS)
  writeFileSync(path.join(images, 'class 1', 'damaged.jpg'), 'no image')
  const run = await train(whole, '--samples-every', '4', '--eval-every', '2', '--eval-source', images, '--keep', '1')
  expect(run.code, run.stderr).toBe(0)
  expect(JSON.parse(run.stdout)).toMatchObject({
    ...{ step: 4, newSteps: 4, images: 8, complete: true, interrupted: false, rejects: { unsupported_format: 1 } },
    ...{ before: { psnr: expect.any(Number) }, evaluation: { psnr: expect.any(Number) }, best: { by: 'psnr' } },
  })
  expect(run.stderr).toContain('L1 on a Laplacian pyramid takes the place')
})

describe('a stage of the decoder', () => {
  it('logs every loss and the evaluations; the discriminator counts from its step on', () => {
    const lines = logOf(whole)
    expect(lines.map(({ step }) => step)).toEqual([1, 2, 3, 4])
    for (const name of ['rec_laplacian', 'g_loss', 'd_weight', 'logits_real', 'logits_fake', 'grad_norm', 'lr'])
      expect(lines[0], name).toHaveProperty(name, expect.any(Number))
    expect(lines[0]).toMatchObject({ d_loss: 0, d_grad_norm: 0 })
    for (const line of lines.slice(1)) {
      expect(line.d_loss).toBeGreaterThan(0)
      expect(line.d_grad_norm).toBeGreaterThan(0)
    }
    expect(lines.map(({ psnr }) => psnr !== undefined)).toEqual([false, true, false, true])
    const report = readFileSync(path.join(whole, 'report.html'), 'utf8')
    for (const text of ['Loss of the discriminator', 'Weight of the adversarial loss', 'PSNR', 'data:image/webp'])
      expect(report).toContain(text)
    expect(readdirSync(path.join(whole, 'samples'))).toEqual(['0000000.png', '0000004.png'])
  })

  it('keeps the best checkpoint besides the newest, and names it', () => {
    const { best, checkpoints, checkpoint } = JSON.parse(readFileSync(path.join(whole, '_manifest.json'), 'utf8'))
    const judged = logOf(whole).filter(({ psnr }) => psnr !== undefined)
    const highest = judged.reduce((a, b) => (Number(b.psnr) > Number(a.psnr) ? b : a))
    expect(best).toEqual({
      ...{ step: highest.step, by: 'psnr', value: highest.psnr },
      checkpoint: `checkpoints/000000${highest.step}`,
    })
    expect(checkpoint).toBe('checkpoints/0000004')
    expect(checkpoints).toEqual([...new Set([best.checkpoint, checkpoint])].sort())
  })

  it('changes the parameters of the decoder, and no byte of any other tensor', async () => {
    const folders = [nano, path.join(whole, 'checkpoints', '0000004')]
    const [before, after] = await Promise.all(
      folders.map((folder) => openSafetensors(path.join(folder, 'model.safetensors'))),
    )
    expect([...after!.tensors.keys()].sort()).toEqual([...before!.tensors.keys()].sort())
    const changed: string[] = []
    for (const { name, dtype } of before!.tensors.values())
      if (
        after!.tensors.get(name)!.dtype !== dtype ||
        Buffer.compare(await before!.readBytes(name), await after!.readBytes(name)) !== 0
      )
        changed.push(name)
    expect(changed.filter((name) => !name.startsWith('pixel_decoder.'))).toEqual([])
    expect(changed).not.toContain('pixel_decoder.rope_embed.periods')
    expect(changed).toContain('pixel_decoder.proj_out.weight')
    expect(readFileSync(path.join(folders[1]!, 'config.json'))).toEqual(readFileSync(path.join(nano, 'config.json')))
    await Promise.all([before!.close(), after!.close()])
  })

  it('gives a model that encodes to the same latents and decodes them to other pixels', async () => {
    const model = path.join(whole, 'checkpoints', '0000004')
    const latents = path.join(whole, '_vtp', 'latents')
    const decode = async (by: string): Promise<string> => {
      const out = path.join(dir, `decoded-${path.basename(by)}`)
      const run = await runHere(['decode', latents, '--model', by, '--any-model', '--out', out])
      expect(run.code, run.stderr).toBe(0)
      return digest(path.join(out, readdirSync(out, { recursive: true }).map(String).sort().find(isPng)!))
    }
    expect(await decode(model)).not.toBe(await decode(nano))
  })

  it('killed between steps, goes on to the same bytes with other threads and workers', async () => {
    const out = path.join(dir, 'killed')
    const args = argsOf(out, '--checkpoint-seconds', '0')
    const isAhead = (): boolean => existsSync(path.join(out, 'log.jsonl')) && logOfStarted(out) >= 1
    expect((await runCli(args, { onSpawn: signalWhen('SIGKILL', isAhead) })).signal).toBe('SIGKILL')
    const again = await train(out, '--threads', '2', '--workers', '1')
    expect(again.code, again.stderr).toBe(0)
    expect(digestsOf(out, '0000004')).toEqual(digestsOf(whole, '0000004'))
    const numbers = ({ psnr: _p, ssim: _s, protocol: _t, ...line }: Line): object => ({
      ...{ ...line, seconds: 0, imagesPerSecond: 0 },
    })
    expect(logOf(out).map(numbers)).toEqual(logOf(whole).map(numbers))
  })

  it('in a folder that holds another one is refused with what differs', async () => {
    const run = await train(whole, '--set', 'hyper_parameters.lr=1e-3')
    expect(run.code).toBe(2)
    expect(run.stderr).toContain('hyperParameters.lr: 0.0001 there, 0.001 now')
  })

  it('ends at a step that is not finite, with nothing of it applied', async () => {
    const out = path.join(tempDir(), 'out')
    const run = await train(out, '--set', 'hyper_parameters.lr=1e30', '--checkpoint-seconds', '0')
    expect(run.code).toBe(3)
    expect(run.stderr).toMatch(/Step 2 is not finite: total = NaN/)
    expect(logOf(out).map(({ step }) => step)).toEqual([1])
    expect(existsSync(path.join(out, '_vtp', 'resume-0000001'))).toBe(true)
  })
})

const isPng = (name: string): boolean => name.endsWith('.png')
const logOfStarted = (out: string): number => readFileSync(path.join(out, 'log.jsonl'), 'utf8').split('\n').length - 1

describe('given latents', () => {
  const shards = path.join(dir, 'shards')
  const encode = (out: string, ...more: string[]) =>
    runHere(['encode', images, '--out', out, '--transform', 'adm-crop(32)', '--max-bad', '1', ...more])
  /** A copy of the images, which may be changed. */
  const copied = (): string => {
    const to = path.join(tempDir(), 'images')
    cpSync(images, to, { recursive: true })
    return to
  }
  const trainOn = (source: string, latents: string, ...more: string[]) => {
    const [command, , ...rest] = argsOf(path.join(tempDir(), 'out'), '--latents', latents, ...more)
    return runHere([command!, source, ...rest])
  }

  beforeAll(async () => {
    const run = await encode(shards, '--format', 'safetensors')
    expect(run.code, run.stderr).toBe(0)
  })

  it('of the same images give the same bytes as those that a run makes itself', async () => {
    const out = path.join(dir, 'given')
    const run = await train(out, '--latents', shards)
    expect(run.code, run.stderr).toBe(0)
    expect(digestsOf(out, '0000004')).toEqual(digestsOf(whole, '0000004'))
    expect(existsSync(path.join(out, '_vtp', 'latents'))).toBe(false)
  })

  it('may be float16 Arrow shards', async () => {
    const arrow = path.join(dir, 'arrow')
    expect((await encode(arrow, '--flip')).code).toBe(0)
    const run = await trainOn(images, arrow, '--steps', '1')
    expect(run.code, run.stderr).toBe(0)
  })

  it('that are not those of the model are found by their bits, and the row is named', async () => {
    const changed = path.join(tempDir(), 'shards')
    cpSync(shards, changed, { recursive: true })
    const name = readdirSync(changed).find((file) => file.endsWith('.safetensors'))!
    const file = path.join(changed, name)
    const opened = await openSafetensors(file)
    const { offset, bytes } = opened.tensors.get('latents')!
    await opened.close()
    const content = readFileSync(file)
    content[offset + (bytes / ROWS) * 3]! ^= 1
    writeFileSync(file, content)
    const run = await trainOn(images, changed)
    expect(run.code).toBe(3)
    expect(run.stderr).toMatch(/Row 3, .*gives other latents than those stored/)
  })

  it('without their images are refused: one is not listed, another has changed', async () => {
    const fewer = copied()
    rmSync(path.join(fewer, 'class 2', '00002.jpg'))
    const missing = await trainOn(fewer, shards)
    expect(missing.code).toBe(2)
    expect(missing.stderr).toMatch(/is class 2\/00002.*, which .* does not list/)
    const other = copied()
    writeFileSync(path.join(other, 'class 2', '00002.jpg'), await encodedPicture(99, 50, 50, 'jpeg'))
    const changed = await trainOn(other, shards)
    expect(changed.code).toBe(3)
    expect(changed.stderr).toContain('is not the image that its latents were computed from')
  })

  it.each([
    ['of another model', ['--init', path.join(whole, 'checkpoints', '0000004')], 'are of another model'],
    ['of another size', ['--set', 'config.image_size=64'], 'images of 32 × 32; the recipe asks for 64'],
    ['that are not there', ['--latents', path.join(dir, 'nowhere')], 'does not exist'],
  ])('%s are refused', async (_, more, message) => {
    const run = await trainOn(images, shards, ...more)
    expect(run.code).toBe(2)
    expect(run.stderr).toContain(message)
  })
})

describe('refused before anything is made', () => {
  it.each([
    ['a run that begins from nothing', ['--init'], [], '--stage decoder needs --init'],
    ['the other stage’s flags', [], ['--export', 'teacher'], '--export does not go with --stage decoder'],
    ['images that are too small', [], ['--set', 'config.image_size=16'], 'too small for the discriminator'],
    ['a key that is not known', [], ['--set', 'config.batches=3'], 'Unrecognized key: "batches"'],
    ['fewer images than a batch', [], ['--set', 'config.batch=60'], 'gives 8 images; a batch has 60'],
    ['fewer images that can be read', [], ['--set', 'config.batch=8'], 'gives 7 rows; a batch has 8'],
    ['a part of a patch', [], ['--set', 'config.image_size=60'], '60 is not a multiple of the patch size 16'],
  ])('%s', async (_, without, more, message) => {
    const args = argsOf(path.join(tempDir(), 'out'), ...more)
    for (const flag of without) args.splice(args.indexOf(flag), 2)
    const run = await runHere(args)
    expect(run.code, run.stderr).toBe(2)
    expect(run.stderr).toContain(message)
  })

  it('the other stage’s recipe, and one that is empty', async () => {
    const other = argsOf(path.join(tempDir(), 'out'))
    other[other.indexOf('--recipe') + 1] = 'recipes/tiny-cpu.yaml'
    const run = await runHere(other)
    expect(run.code).toBe(2)
    expect(run.stderr).toContain('is a recipe of --stage joint; this is --stage decoder')
    const empty = path.join(tempDir(), 'empty.yaml')
    writeFileSync(empty, '')
    other[other.indexOf('--recipe') + 1] = empty
    expect((await runHere(other)).stderr).toContain('is empty, or has no keys')
  })

  it('images of which none can be read', async () => {
    const folder = path.join(tempDir(), 'bad')
    mkdirSync(folder)
    for (const name of ['a.jpg', 'b.jpg']) writeFileSync(path.join(folder, name), 'no image')
    const args = argsOf(path.join(tempDir(), 'out'))
    args[args.indexOf(images)] = folder
    const run = await runHere(args)
    expect(run.code).toBe(2)
    expect(run.stderr).toContain(`No image of ${folder} could be read: 2 unsupported_format`)
  })

  it('a model without a decoder', async () => {
    const model = path.join(tempDir(), 'no-decoder')
    mkdirSync(model)
    const config = JSON.parse(readFileSync(path.join(nano, 'config.json'), 'utf8'))
    writeFileSync(path.join(model, 'config.json'), JSON.stringify({ ...config, train_reconstruction: false }))
    const whole = await openSafetensors(path.join(nano, 'model.safetensors'))
    const left = [...whole.tensors.values()].filter(({ name }) => !name.startsWith('pixel_decoder.'))
    const tensors = left.map((tensor) => ({ ...tensor, bytes: () => whole.readBytes(tensor.name) }))
    await writeSafetensors(path.join(model, 'model.safetensors'), tensors)
    await whole.close()
    const run = await train(path.join(tempDir(), 'out'), '--init', model)
    expect(run.code).toBe(2)
    expect(run.stderr).toContain('has no pixel decoder (train_reconstruction is false)')
  })
})
