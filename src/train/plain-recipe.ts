/** A training in the terms of the reference's configuration files, where it was begun without one. */
import { DIT_SIZES, type DitConfig } from '../model/lightningdit/config.js'
import type { OptimizerSettings } from './adamw.js'
import type { Schedule } from './schedule.js'
import type { TrainSettings } from './step.js'

export interface Described {
  config: DitConfig
  batch: number
  schedule: Schedule
  optimizer: OptimizerSettings
  settings: TrainSettings
  latentMultiplier: number
  seed: number
}

/** A configuration in the reference's terms, where there is no file of it. */
export function plainRecipe({
  config,
  batch,
  schedule,
  optimizer,
  settings,
  latentMultiplier,
  seed,
}: Described): Record<string, unknown> {
  const { transport } = settings
  return {
    data: {
      // Where the latents lie decides no byte.
      data_path: 'latents',
      image_size: config.inputSize * 16,
      num_classes: config.numClasses,
      num_workers: 8,
      latent_norm: true,
      latent_multiplier: latentMultiplier,
    },
    vae: { model_name: 'vtp', downsample_ratio: 16 },
    model: {
      model_type: modelType(config),
      use_qknorm: config.qkNorm,
      use_swiglu: config.swiglu,
      use_rope: config.rope,
      use_rmsnorm: config.rmsNorm,
      wo_shift: config.woShift,
      in_chans: config.inChannels,
    },
    train: { global_batch_size: batch, global_seed: seed },
    optimizer: {
      lr: schedule.lr,
      beta2: optimizer.beta2,
      ...(optimizer.maxGradNorm !== undefined && { max_grad_norm: optimizer.maxGradNorm }),
    },
    transport: {
      path_type: transport.path,
      prediction: transport.prediction,
      loss_weight: transport.lossWeight === 'none' ? null : transport.lossWeight,
      sample_eps: null,
      train_eps: null,
      use_cosine_loss: settings.cosineLoss,
      use_lognorm: true,
      lognorm_mu: 0,
      lognorm_sigma: 1,
    },
  }
}

/** The reference's name of a size, or its numbers as `--size` takes them. */
export function modelType({ hiddenSize, depth, numHeads, patchSize }: DitConfig): string {
  const known = Object.entries(DIT_SIZES).find(
    ([, size]) =>
      size.hiddenSize === hiddenSize &&
      size.depth === depth &&
      size.numHeads === numHeads &&
      size.patchSize === patchSize,
  )
  return known?.[0] ?? `${hiddenSize}x${depth}x${numHeads}/${patchSize}`
}
