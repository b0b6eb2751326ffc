/**
 * The reference's YAML configuration files as its train.py reads them (LightningDiT train.py, do_train), with its
 * defaults for keys that are left out. Sections that are missing altogether have the defaults, too, so that a file of
 * a few lines does. Keys that train.py does not look at are named, not obeyed.
 */
import * as z from 'zod'
import { readRecipeFile, usable } from '../generate/recipe.js'
import type { DitConfig } from '../model/lightningdit/config.js'
import { LOSS_WEIGHTS, PATHS, PREDICTIONS, type Transport } from './transport.js'

const text = z.string().nullish()
const flag = z.boolean().nullish()
const number = z.number().nullish()
const whole = z.int().positive().nullish()
const positive = z.number().positive().nullish()

const schema = z.looseObject({
  data: z
    .looseObject({
      data_path: text,
      image_size: whole,
      num_classes: whole,
      latent_norm: flag,
      latent_multiplier: positive,
      valid_path: text,
    })
    .nullish(),
  vae: z.looseObject({ downsample_ratio: whole, hf_model_path: text }).nullish(),
  model: z
    .looseObject({
      model_type: text,
      in_chans: whole,
      use_qknorm: flag,
      use_rmsnorm: flag,
      use_rope: flag,
      use_swiglu: flag,
      wo_shift: flag,
    })
    .nullish(),
  train: z
    .looseObject({
      max_steps: whole,
      ckpt_every: whole,
      global_batch_size: whole,
      global_seed: number,
      weight_init: text,
    })
    .nullish(),
  optimizer: z
    .looseObject({ lr: positive, beta2: z.number().min(0).lt(1).nullish(), max_grad_norm: positive })
    .nullish(),
  transport: z
    .looseObject({
      path_type: z.enum(PATHS).nullish(),
      prediction: z.enum(PREDICTIONS).nullish(),
      loss_weight: z.enum(LOSS_WEIGHTS).nullish(),
      train_eps: number,
      use_cosine_loss: flag,
      use_lognorm: flag,
      lognorm_mu: number,
      lognorm_sigma: positive,
    })
    .nullish(),
})

export type DitOptions = Pick<DitConfig, 'qkNorm' | 'swiglu' | 'rope' | 'rmsNorm' | 'woShift'>

export interface TrainRecipe {
  file: string
  /** The whole file as plain data: it goes into checkpoints. */
  value: Record<string, unknown>
  modelType?: string
  options: DitOptions
  inChannels?: number
  imageSize?: number
  /** Pixels of a latent cell's side. */
  downsample: number
  numClasses?: number
  dataPath?: string
  latentNorm: boolean
  latentMultiplier: number
  vtpModel?: string
  maxSteps?: number
  saveEvery?: number
  batch?: number
  seed?: number
  weightInit?: string
  lr?: number
  beta2?: number
  maxGradNorm?: number
  transport: Transport
  trainEps?: number
  cosineLoss: boolean
  lognorm?: { mu: number; sigma: number }
  /** Keys that train.py does not read, as `section.key`. */
  ignored: string[]
}

/** What train.py asks for (traced: golden/train/recipes). The rest of a file is of other programs. */
const READ: Record<string, readonly string[]> = {
  data: ['data_path', 'image_size', 'num_classes', 'num_workers', 'latent_norm', 'latent_multiplier', 'valid_path'],
  vae: ['downsample_ratio', 'hf_model_path'],
  model: [
    'model_type',
    'in_chans',
    'use_qknorm',
    'use_rmsnorm',
    'use_rope',
    'use_swiglu',
    'wo_shift',
    'use_checkpoint',
  ],
  train: [
    'max_steps',
    'ckpt_every',
    'global_batch_size',
    'log_every',
    'output_dir',
    'exp_name',
    'resume',
    'use_checkpoint',
    'weight_init',
    // train.py passes over it, and its order and noise differ in every run; here it is the seed.
    'global_seed',
  ],
  optimizer: ['lr', 'beta2', 'max_grad_norm'],
  transport: [
    'path_type',
    'prediction',
    'loss_weight',
    'train_eps',
    'sample_eps',
    'use_cosine_loss',
    'use_lognorm',
    'lognorm_mu',
    'lognorm_sigma',
  ],
}

function ignoredKeys(value: Record<string, unknown>): string[] {
  return Object.entries(value).flatMap(([section, inner]) => {
    const known = READ[section]
    if (!known) return section === 'sample' ? ['sample.*'] : [section]
    return Object.keys((inner ?? {}) as object)
      .filter((key) => !known.includes(key))
      .map((key) => `${section}.${key}`)
  })
}

/** Reads a configuration file. Throws usage errors `recipe_unreadable`, `bad_recipe`. */
export async function readTrainRecipe(file: string): Promise<TrainRecipe> {
  const { data: parsed, value } = await readRecipeFile(file, schema)
  const { data, vae, model, train, optimizer, transport } = parsed
  const lognorm = transport?.use_lognorm
    ? { mu: transport.lognorm_mu ?? 0, sigma: transport.lognorm_sigma ?? 1 }
    : undefined
  return {
    file,
    value: value as Record<string, unknown>,
    modelType: model?.model_type ?? undefined,
    options: {
      qkNorm: model?.use_qknorm ?? false,
      swiglu: model?.use_swiglu ?? false,
      rope: model?.use_rope ?? false,
      rmsNorm: model?.use_rmsnorm ?? false,
      woShift: model?.wo_shift ?? false,
    },
    inChannels: model?.in_chans ?? undefined,
    imageSize: data?.image_size ?? undefined,
    downsample: vae?.downsample_ratio ?? 16,
    numClasses: data?.num_classes ?? undefined,
    dataPath: usable(data?.data_path),
    latentNorm: data?.latent_norm ?? false,
    latentMultiplier: data?.latent_multiplier ?? 0.18215,
    vtpModel: usable(vae?.hf_model_path),
    maxSteps: train?.max_steps ?? undefined,
    saveEvery: train?.ckpt_every ?? undefined,
    batch: train?.global_batch_size ?? undefined,
    seed: train?.global_seed ?? undefined,
    weightInit: usable(train?.weight_init),
    lr: optimizer?.lr ?? undefined,
    beta2: optimizer?.beta2 ?? undefined,
    maxGradNorm: optimizer?.max_grad_norm ?? undefined,
    transport: {
      path: transport?.path_type ?? 'Linear',
      prediction: transport?.prediction ?? 'velocity',
      lossWeight: transport?.loss_weight ?? 'none',
    },
    trainEps: transport?.train_eps ?? undefined,
    cosineLoss: transport?.use_cosine_loss ?? false,
    lognorm,
    ignored: ignoredKeys(value as Record<string, unknown>),
  }
}
