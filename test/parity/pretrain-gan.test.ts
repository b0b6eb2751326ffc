/** The GAN stage of the decoder against the official loss and two whole cases of it (golden/pretrain/gan). */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { openSafetensors, type SafetensorsFile } from '../../src/io/safetensors.js'
import { configSchema } from '../../src/model/vtp/config.js'
import { openGanTrainer } from '../../src/pretrain/gan.js'
import { readLpips } from '../../src/pretrain/perceptual.js'
import { goldenPath } from '../golden.js'
import { tempDir } from '../support/cli.js'
import { hashWeightsFolder } from '../support/hash-weights.js'
import { runHere } from '../support/run-here.js'
import { writeSmallPictures } from '../support/small-images.js'

interface Golden {
  settings: {
    decoder: { in: number; dim: number; depth: number; heads: number; ffn: string; norm: string; qk: boolean }
    ndf: number
    layers: number
    disc_start: number
    disc_weight: number
    perceptual_weight: number
    disc_loss: 'hinge' | 'vanilla'
    pp_style: boolean
    lr: number
    n_steps: number
  }
  log: Record<string, number>[]
  numerics_vs_float64: Record<string, { rel_l2: number }>
}

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0))
const apart = (a: Float32Array, b: Float32Array): number =>
  norm(a.map((value, i) => value - b[i]!)) / Math.max(norm(b), 1e-30)

/**
 * Twenty times what float32 and float64 differ by, as sums go in another order here. The LPIPS of the case that has it
 * is 0.2 to 0.7 % below what the loss gives in evaluation mode, at each of its four steps. Dropout in taming's LPIPS,
 * which is there in training mode, spreads by 0.2 to 0.3 %; nothing else that was tried explains the difference (see the
 * notebook). What depends on LPIPS is compared at that size.
 */
const MARGIN = 20
const DROPOUT = 2e-2

/** What the official loss calls what we log under another name. */
const OFFICIAL: Record<string, string> = {
  ...{ total: 'generator_loss', nll: 'nll_loss', rec: 'rec_loss', d_loss: 'disc_loss' },
}

describe.each(['hinge_mean', 'vanilla_sum'])('%s', (name) => {
  it('losses, adaptive weight, gradients, parameters and statistics of all steps', async () => {
    const golden = JSON.parse(readFileSync(goldenPath('pretrain', 'gan', `${name}.json`), 'utf8')) as Golden
    const file = await openSafetensors(goldenPath('pretrain', 'gan', `${name}.safetensors`))
    const { trainer, steps, drops } = await openCase(golden, file)
    const close = (seen: number, expected: number, least: number): void =>
      expect(Math.abs(seen - expected)).toBeLessThanOrEqual(least * Math.max(Math.abs(expected), 1e-2))
    const tolerance = (what: string): number => (drops ? DROPOUT : MARGIN * golden.numerics_vs_float64[what]!.rel_l2)
    for (let step = 0; step < steps; step++) {
      const target = new Uint8Array(await file.readBytes(`step${step}.target_u8`)).slice()
      const latents = await file.readFloat32(`step${step}.latents`)
      const { log, image } = await trainer.step({ latents, target }, step)
      const expected = golden.log[step]!
      const exact = MARGIN * golden.numerics_vs_float64.step!.rel_l2
      expect(apart(image, await file.readFloat32(`step${step}.reconstruction_pm1`))).toBeLessThan(
        step === 0 ? exact : tolerance('step'),
      )
      // Before the first update the discriminator has seen nothing of LPIPS.
      for (const key of ['g_loss', 'd_loss', 'logits_real', 'logits_fake', 'disc_factor'])
        close(log[key]!, expected[OFFICIAL[key] ?? key]!, step === 0 || !drops ? 1e-4 : 10 * DROPOUT)
      const { rec_l1, rec_lpips = 0 } = log
      const rec = rec_l1! + golden.settings.perceptual_weight * rec_lpips
      for (const [key, value] of Object.entries({ ...log, rec }))
        if (['nll', 'rec', 'total', 'd_weight'].includes(key))
          close(value, expected[OFFICIAL[key] ?? key]!, drops ? DROPOUT : 1e-4)
    }
    const parts = { decoder: trainer.state.decoder, discriminator: trainer.state.discriminator }
    for (const [part, tensors] of Object.entries(parts)) {
      for (const { name: full, gradient, parameter } of tensors) {
        const key = full.replace('pixel_decoder.', '')
        const after = await file.readFloat32(`after.${part}.${key}`)
        expect(apart(parameter, after), full).toBeLessThan(tolerance(`after.${part}`))
        // Four steps later gradients have gone their own ways where features were dropped.
        if (drops) continue
        const expected = await file.readFloat32(`grad.${part}.${key}`)
        expect(apart(gradient, expected), `gradient of ${full}`).toBeLessThan(tolerance(`grad.${part}`))
      }
    }
    for (const [key, values] of trainer.state.statistics)
      expect(apart(values, await file.readFloat32(`after.discriminator.${key}`)), key).toBeLessThan(
        drops ? DROPOUT : 1e-5,
      )
    await trainer.close()
    await file.close()
  })
})

it('the command takes LPIPS into the loss, and judges by LPIPS and rFID, where their weights are given', async () => {
  const dir = tempDir()
  const images = path.join(dir, 'images')
  await writeSmallPictures(images, 4)
  const args = ['pretrain', images, '--stage', 'decoder', '--init', 'nano', '--recipe', 'recipes/decoder.yaml']
  const size = ['--set', 'config.image_size=32', '--set', 'config.batch=2', '--steps', '1', '--threads', '1']
  const looks = ['--weights', hashWeightsFolder(), '--eval-every', '1', '--eval-source', images, '--json']
  const run = await runHere([...args, ...size, ...looks, '--out', path.join(dir, 'run')])
  expect(run.code, run.stderr).toBe(0)
  const measured = { psnr: expect.any(Number), lpips: expect.any(Number), rfid: expect.any(Number) }
  expect(JSON.parse(run.stdout)).toMatchObject({
    before: measured,
    evaluation: measured,
    best: { step: 1, by: 'rfid' },
  })
  const [line] = readFileSync(path.join(dir, 'run', 'log.jsonl'), 'utf8').split('\n')
  const { rec_l1, rec_lpips, nll } = JSON.parse(line!) as Record<string, number>
  expect(rec_lpips).toBeGreaterThan(0)
  expect(nll).toBeCloseTo(rec_l1! + rec_lpips!, 5)
})

async function openCase(golden: Golden, file: SafetensorsFile) {
  const { decoder, n_steps: steps, pp_style, ...settings } = golden.settings
  const config = configSchema.parse({
    vision_feature_bottleneck: decoder.in,
    decoder_embed_dim: decoder.dim,
    decoder_depth: decoder.depth,
    decoder_num_heads: decoder.heads,
    decoder_ffn_layer: decoder.ffn,
    decoder_norm_layer: decoder.norm,
    decoder_use_qk_norm: decoder.qk,
  })
  const stored = (key: string): string =>
    key.startsWith('main.') ? `init.discriminator.${key}` : `init.decoder.${key.replace('pixel_decoder.', '')}`
  const trained = [...file.tensors.keys()].filter((key) => key.startsWith('grad.decoder.'))
  const shapes = new Map(
    trained.map((key) => [key.replace('grad.decoder.', 'pixel_decoder.'), file.tensors.get(key)!.shape]),
  )
  const drops = settings.perceptual_weight > 0
  const perceptual = drops ? await readLpips({ weights: hashWeightsFolder(), cacheDir: tempDir() }) : undefined
  const trainer = await openGanTrainer(
    {
      ...{ config, rope: 'fp32', decoder: shapes },
      periods: await file.readFloat32('init.decoder.rope_embed.periods'),
      read: (key) => file.readFloat32(stored(key)),
    },
    {
      ...{ ...settings, betas: [0.5, 0.9], eps: 1e-8, pixel_loss: 'l1' },
      reduction: pp_style ? 'mean' : 'sum',
    },
    { latents: file.tensors.get('step0.latents')!.shape as [number, number, number, number], threads: 1, perceptual },
  )
  return { trainer, steps, drops }
}
