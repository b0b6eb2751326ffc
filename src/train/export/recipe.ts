/**
 * A training as a configuration that the reference's train.py starts with: every key that it needs, in the values of
 * this plan, and none that it fails with. Paths are relative to the folder of the export.
 */
import { stringify } from 'yaml'
import { plainRecipe } from '../plain-recipe.js'
import type { PreparedTrain } from '../prepare.js'

export const EXPERIMENT = 'vtp'
export const OUTPUT = 'runs'

type Section = Record<string, unknown>

/**
 * The reference's name of the tokenizer that made latents: it looks for `tokenizer/configs/NAME.yaml`. `model` is what
 * the shards say, undefined where they were not written here.
 */
export function tokenizerName(model: string | undefined, channels: number): string {
  if (model === undefined) return channels === 32 ? 'vavae_f16d32' : 'vtp'
  if (/va-?vae/i.test(model)) return 'vavae_f16d32'
  return /vtp|^nano$/i.test(model) ? 'vtp' : model
}

/**
 * Sections of the training's own configuration stay; what decides the training is the plan's. `madeBy`: the model that
 * made the latents, as their shards name it.
 */
export function exportedRecipe(prepared: PreparedTrain, madeBy?: string): Record<string, Section> {
  const { plan, config, settings, schedule, steps, saveEvery, stats, recipe } = prepared
  const { optimizer } = settings
  const plain = plainRecipe({
    ...{ config, batch: plan.batch, schedule, optimizer, settings, seed: plan.seed },
    latentMultiplier: plan.latentMultiplier,
  }) as Record<string, Section>
  const given = (recipe?.value ?? {}) as Record<string, Section | undefined>
  const without = (section: string, ...keys: string[]): Section =>
    Object.fromEntries(Object.entries(given[section] ?? {}).filter(([key]) => !keys.includes(key)))
  const downsample = recipe?.downsample ?? 16
  const { lognorm } = plan.time
  return {
    ...given,
    data: {
      // It would call a function that train.py does not have.
      ...without('data', 'valid_path'),
      ...plain.data,
      data_path: 'data',
      image_size: config.inputSize * downsample,
      latent_norm: stats !== undefined,
    },
    vae: { model_name: tokenizerName(madeBy, config.inChannels), ...given.vae, downsample_ratio: downsample },
    model: { ...given.model, ...plain.model, use_checkpoint: settings.checkpointActivations },
    train: {
      ...without('train', 'weight_init'),
      ...plain.train,
      max_steps: steps,
      ckpt_every: checkpointsEvery(steps, saveEvery),
      log_every: Math.min(100, steps),
      output_dir: OUTPUT,
      exp_name: EXPERIMENT,
      resume: true,
    },
    optimizer: plain.optimizer!,
    transport: {
      ...given.transport,
      ...plain.transport,
      train_eps: recipe?.trainEps ?? null,
      use_lognorm: lognorm !== undefined,
      ...(lognorm && { lognorm_mu: lognorm.mu, lognorm_sigma: lognorm.sigma }),
    },
  }
}

/** train.py writes no last checkpoint of its own: a divisor of the steps, near what is wanted. */
export function checkpointsEvery(steps: number, wanted: number): number {
  for (let every = Math.min(wanted, steps); every * 10 >= wanted && every > 0; every--)
    if (steps % every === 0) return every
  return steps
}

/** YAML whose numbers PyYAML reads as numbers: an exponent needs a point before it. */
export function pythonYaml(value: unknown): string {
  return stringify(value).replace(/: (-?\d+)e([-+]\d+)$/gm, ': $1.0e$2')
}

/** What train.py does otherwise, one sentence each. */
export function differences({ plan }: PreparedTrain): string[] {
  const { schedule, optimizer, labelDropout } = plan
  const lines: string[] = []
  if (schedule.kind !== 'constant' || schedule.warmup > 0)
    lines.push(`Its learning rate is always ${schedule.lr}: it has neither warm-up nor a cosine.`)
  if (optimizer.weightDecay !== 0) lines.push(`It has no weight decay; this training has ${optimizer.weightDecay}.`)
  if (optimizer.emaDecay !== 0.9999) lines.push(`It averages with 0.9999; this training with ${optimizer.emaDecay}.`)
  if (labelDropout !== 0.1) lines.push(`It drops 0.1 of the labels; this training ${labelDropout}.`)
  return lines
}
