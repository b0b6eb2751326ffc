/**
 * What a run of joint pre-training is told: the model, views and batches (`config`), and losses, optimiser and schedules
 * (`hyper_parameters`). JSON or YAML. The keys are those of the reference data, so that its settings are a recipe as
 * they are; further keys of `config` are notes there.
 */
import * as z from 'zod'
import { usageError } from '../errors.js'
import { FILTERS } from '../image/resample-weights.js'
import { configSchema as modelSchema } from '../model/vtp/config.js'
import { parseRecipe, readRecipeText } from './recipe-text.js'
import type { CosineSchedule } from './schedules.js'

const weight = z.number().nonnegative()
const rate = z.number().min(0).lt(1)
const share = z.number().min(0).max(1)
const steps = z.int().nonnegative()
const count = z.int().positive()
const range = z
  .tuple([share, share])
  .refine(([from, to]) => from <= to, { message: 'the first number of a range is the smaller one' })
const schedule = z
  .strictObject({
    base_value: z.number(),
    final_value: z.number(),
    /** Default: all steps of the run. */
    total_iters: count.optional(),
    warmup_iters: steps.optional(),
    /** Of the run's steps, in place of `warmup_iters`. */
    warmup_share: share.optional(),
    start_warmup_value: z.number().default(0),
  })
  .refine((value) => value.warmup_iters === undefined || value.warmup_share === undefined, {
    message: 'warmup_iters and warmup_share exclude each other',
  })

const views = z
  .strictObject({
    clip_area: range.default([0.9, 1]),
    global_area: range.default([0.32, 1]),
    local_area: range.default([0.05, 0.32]),
    /** One of them resamples each view, drawn: a model that saw several does not depend on how images are enlarged. */
    filters: z.array(z.enum(FILTERS)).min(1).default(['bicubic']),
    flip: share.default(0.5),
    jitter: share.default(0.8),
    grey: share.default(0.2),
    /** First global crop, second, local ones. */
    blur: z.tuple([share, share, share]).default([0, 0.9, 0.5]),
    /** Of the second global crop. */
    solarize: share.default(0.2),
  })
  .prefault({})

const drop = z
  .strictObject({ clip_drop_rate: rate.default(0), ssl_drop_rate: rate.default(0), rec_drop_rate: rate.default(0) })
  .prefault({})

const configSchema = z.looseObject({
  rope: z.enum(['bf16', 'fp32']).default('bf16'),
  siglip: z.boolean().default(false),
  drop,
  /** Side of the whole view and of the crops, in pixels. */
  image_size: count.default(256),
  global_size: count.optional(),
  local_size: count.default(96),
  n_steps: count.optional(),
  save_every: count.optional(),
  batch: z.strictObject({ clip: count.optional(), ssl: count.optional(), rec: count.optional() }).optional(),
  head: z
    .strictObject({
      K: z.int().min(2).default(65_536),
      layers: count.default(3),
      hidden: count.default(2048),
      bottleneck: count.default(256),
    })
    .prefault({}),
  views,
  masks: z
    .strictObject({ ratio: range.default([0.1, 0.5]), probability: share.default(0.5), least: count.default(4) })
    .prefault({}),
  pixel_loss: z.enum(['l1', 'laplacian']).default('l1'),
  identical_captions: z.enum(['negatives', 'positives']).default('negatives'),
})

const schema = z.looseObject({
  /** `config.json` of the model that is made; absent where a run begins from one. */
  model: z.record(z.string(), z.unknown()).optional(),
  config: configSchema,
  hyper_parameters: z.strictObject({
    w_clip: weight,
    w_ssl: weight,
    w_rec: weight,
    w_lpips: weight,
    w_koleo: weight,
    local_crops: steps,
    centering: z.enum(['sinkhorn_knopp', 'centering']),
    layer_decay: z.number().positive().max(1),
    patch_embed_lr_mult: z.number().nonnegative(),
    betas: z.tuple([rate, rate]),
    eps: z.number().positive(),
    clip_grad: z.number().positive().nullable(),
    first_iter: steps.default(0),
    freeze_last_layer_iters: steps,
    schedules: z.strictObject({
      lr: schedule,
      weight_decay: schedule,
      momentum: schedule,
      teacher_temp: schedule,
    }),
  }),
})

type Parsed = Pick<z.infer<typeof schema>, keyof typeof schema.shape>
type Given = Parsed['hyper_parameters']
export type HyperParameters = Omit<Given, 'schedules'> & {
  schedules: Record<keyof Given['schedules'], CosineSchedule>
}
export type PretrainRecipe = Omit<Parsed, 'hyper_parameters'> & { hyper_parameters: HyperParameters }

/** Keys of `config` that a run obeys; others are notes of reference data. */
export const CONFIG_KEYS: readonly string[] = Object.keys(configSchema.shape)

/** What a published config.json has besides what describes the model. */
const MODEL_NOTES = ['model_type', 'architectures', 'auto_map', 'dtype', 'torch_dtype', 'transformers_version']

/** A key that nobody obeys is a mistake, where it is no note of reference data. Throws usage error `bad_recipe`. */
export function assertKnownKeys(recipe: PretrainRecipe, file: string): void {
  const places: [string, object, readonly string[]][] = [
    ['the recipe', recipe, Object.keys(schema.shape)],
    ['config', recipe.config, CONFIG_KEYS],
    ['model', recipe.model ?? {}, [...Object.keys(modelSchema.shape), ...MODEL_NOTES]],
  ]
  for (const [place, value, known] of places) {
    const unknown = Object.keys(value).filter((key) => !known.includes(key))
    if (unknown.length > 0)
      throw usageError('bad_recipe', `${file}: ${place} has unknown keys: ${unknown.join(', ')}`, [
        `known ones are ${known.filter((key) => !MODEL_NOTES.includes(key)).join(', ')}`,
      ])
  }
}

export interface RecipeChanges {
  /** `KEY=VALUE` each. */
  settings?: readonly string[]
  /** In place of the recipe's `n_steps`. */
  steps?: number
}

/** Throws usage error `bad_recipe` that names every value that is wrong. */
export function parsePretrainRecipe(text: string, file: string, changes: RecipeChanges = {}): PretrainRecipe {
  const parsed = parseRecipe(text, file, { schema, stage: 'joint', settings: changes.settings })
  const { w_clip, w_ssl, w_rec } = parsed.hyper_parameters
  if (w_clip + w_ssl + w_rec === 0)
    throw usageError('bad_recipe', `${file}: w_clip, w_ssl and w_rec are all 0, so there is nothing to train`)
  return withSchedules(parsed, changes.steps ?? parsed.config.n_steps, file)
}

/** Schedules without a length of their own take that of the run. */
function withSchedules(parsed: Parsed, total: number | undefined, file: string): PretrainRecipe {
  const whole = (name: string, given: Given['schedules']['lr']): CosineSchedule => {
    const { warmup_share: part, warmup_iters: own, ...rest } = given
    const length = rest.total_iters ?? total
    if (length === undefined || (part !== undefined && total === undefined))
      throw usageError(
        'bad_recipe',
        `${file}: schedules.${name} does not say total_iters, and the run no number of steps`,
        ['give --steps, or config.n_steps'],
      )
    return { ...rest, total_iters: length, warmup_iters: own ?? Math.round((part ?? 0) * (total ?? length)) }
  }
  const { schedules } = parsed.hyper_parameters
  const all = Object.fromEntries(
    Object.entries(schedules).map(([name, given]) => [name, whole(name, given)]),
  ) as HyperParameters['schedules']
  return {
    ...parsed,
    config: { ...parsed.config, n_steps: total },
    hyper_parameters: { ...parsed.hyper_parameters, schedules: all },
  }
}

/** Throws usage errors `recipe_unreadable`, `bad_recipe`, `bad_setting`. */
export async function readPretrainRecipe(file: string, changes: RecipeChanges = {}): Promise<PretrainRecipe> {
  return parsePretrainRecipe(await readRecipeText(file), file, changes)
}
