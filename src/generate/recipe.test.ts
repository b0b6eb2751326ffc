import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { checkDitConfig, DIT_SIZES, ditName } from '../model/lightningdit/config.js'
import { checkDitTensors, ditParameters, expectedDitTensors, inferDitConfig } from '../model/lightningdit/tensors.js'
import { isRecipe, readRecipe, recipeConfig } from './recipe.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp recipe '))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

function write(name: string, text: string): string {
  const file = path.join(dir, name)
  writeFileSync(file, text)
  return file
}

/** Laid out as the reference's files, comments and empty values included. */
const FULL = `ckpt_path: # fill in
data:
  data_path: latents # with latents_stats.pt
  fid_reference_file: /path/to/VIRTUAL_imagenet256_labeled.npz
  image_size: 256
  latent_multiplier: 1.0
  latent_norm: true
  num_classes: 1000
model: {in_chans: 64, model_type: LightningDiT-XL/1, use_qknorm: false, use_rmsnorm: true, use_rope: true, use_swiglu: true, wo_shift: false}
optimizer: {beta2: 0.95, lr: 0.0002}
sample: {atol: 1.0e-06, cfg_interval_start: 0.125, cfg_scale: 1.5, fid_num: 50000, likelihood: false, mode: ODE, num_sampling_steps: 250,
  per_proc_batch_size: 8, reverse: false, rtol: 0.001, sampling_method: euler, timestep_shift: 0.075}
train: {global_seed: 7, ckpt: null}
transport: {loss_weight: null, path_type: Linear, prediction: velocity, sample_eps: null, train_eps: null, lognorm_mu: -0.75}
vae: {downsample_ratio: 16, model_name: vtp, hf_model_path: /path/to/pretrained/vtp-l-hf, normalize_type: imagenet}
`

describe("the reference's configuration files", () => {
  it('are read as they are; templates count as empty', async () => {
    const file = write('full.yaml', FULL)
    expect(await isRecipe(file)).toBe(true)
    expect(await readRecipe(file)).toMatchObject({
      modelType: 'LightningDiT-XL/1',
      options: { rmsNorm: true, rope: true, swiglu: true, qkNorm: false, woShift: false, learnSigma: false },
      checkpoint: undefined,
      vtpModel: undefined,
      fidReference: undefined,
      dataPath: 'latents',
      normalize: 'imagenet',
      latentMultiplier: 1,
      steps: 250,
      timestepShift: 0.075,
      cfgScale: 1.5,
      cfgIntervalStart: 0.125,
      atol: 1e-6,
      batch: 8,
      num: 50000,
      seed: 7,
    })
  })

  it("have the reference's defaults where they are silent", async () => {
    const recipe = await readRecipe(write('short.yaml', 'model: {model_type: LightningDiT-B/2}'))
    expect(recipe).toMatchObject({ latentMultiplier: 0.18215, normalize: 'half', numClasses: 1000, imageSize: 256 })
    expect(recipeConfig(recipe, 16, 64)).toMatchObject({ inputSize: 16, patchSize: 2, inChannels: 64, depth: 12 })
  })

  it("may be those of LightningDiT on VA-VAE: a tokenizer's name, and places that nobody has filled in", async () => {
    const yaml = `
ckpt_path: 'path/to/your/checkpoint.pt'
data: {data_path: path/to/your/imagenet_train_256, image_size: 256, latent_norm: true, latent_multiplier: 1.0}
vae: {model_name: vavae_f16d32, downsample_ratio: 16}
model: {model_type: LightningDiT-XL/1, use_swiglu: true, use_rope: true, use_rmsnorm: true, in_chans: 32}
`
    const recipe = await readRecipe(write('vavae.yaml', yaml))
    expect(recipe).toMatchObject({ tokenizer: 'vavae_f16d32', latentMultiplier: 1 })
    expect([recipe.checkpoint, recipe.dataPath, recipe.vtpModel]).toEqual([undefined, undefined, undefined])
    expect(recipeConfig(recipe, 16, 32)).toMatchObject({ inputSize: 16, inChannels: 32, depth: 28, qkNorm: false })
  })

  it('are refused where they ask for what is not there', async () => {
    const cases: [string, RegExp][] = [
      ['model: {model_type: LightningDiT-S/1}', /"LightningDiT-S\/1" is not known/],
      [FULL.replace('path_type: Linear', 'path_type: GVP'), /path_type is GVP; only Linear/],
      [FULL.replace('prediction: velocity', 'prediction: noise'), /prediction is noise; only velocity/],
      [FULL.replace('num_sampling_steps: 250', 'num_sampling_steps: many'), /sample\.num_sampling_steps: /],
      ['- a list', /the file: /],
      ['model: [', /is not YAML/],
    ]
    for (const [text, message] of cases)
      await expect(readRecipe(write('bad.yaml', text)), text).rejects.toThrow(message)
    await expect(readRecipe(path.join(dir, 'missing.yaml'))).rejects.toThrow(/does not exist/)
    expect(await isRecipe(write('flags.yaml', 'model: nano'))).toBe(false)
  })
})

describe('sizes', () => {
  const config = (name: string) =>
    checkDitConfig({
      ...DIT_SIZES[name]!,
      inputSize: 16,
      inChannels: 64,
      mlpRatio: 4,
      numClasses: 1000,
      nullClass: true,
      learnSigma: false,
      qkNorm: false,
      swiglu: true,
      rope: true,
      rmsNorm: true,
      woShift: false,
    })

  it.each(Object.keys(DIT_SIZES))('%s: the tensors that it implies imply it', (name) => {
    const wanted = config(name)
    const tensors = expectedDitTensors(wanted)
    expect(inferDitConfig(tensors, 'x.pt')).toEqual(wanted)
    expect(ditName(wanted)).toBe(name)
    expect(() => checkDitTensors(wanted, tensors, 'x.pt')).not.toThrow()
  })

  it('have as many parameters as torch counts, XL the 675 million of its paper', () => {
    expect(ditParameters(config('LightningDiT-B/2'))).toBe(130_753_024)
    expect(ditParameters(config('LightningDiT-XL/1'))).toBe(675_330_496)
  })
})
