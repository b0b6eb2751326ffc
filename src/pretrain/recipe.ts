/**
 * What a run of joint pre-training is told: views and batches (`config`) and losses, optimiser and schedules
 * (`hyper_parameters`). The keys are those of the reference data, so that its settings are a recipe as they are;
 * further keys of `config` are notes.
 */
import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { errorText, usageError } from '../errors.js'

const weight = z.number().nonnegative()
const rate = z.number().min(0).lt(1)
const steps = z.int().nonnegative()
const schedule = z.strictObject({
  base_value: z.number(),
  final_value: z.number(),
  total_iters: z.int().positive(),
  warmup_iters: steps.default(0),
  start_warmup_value: z.number().default(0),
})

const schema = z.object({
  config: z.looseObject({
    rope: z.enum(['bf16', 'fp32']).default('bf16'),
    siglip: z.boolean().default(false),
    drop: z
      .strictObject({
        clip_drop_rate: rate.default(0),
        ssl_drop_rate: rate.default(0),
        rec_drop_rate: rate.default(0),
      })
      .default({ clip_drop_rate: 0, ssl_drop_rate: 0, rec_drop_rate: 0 }),
  }),
  hyper_parameters: z.strictObject({
    w_clip: weight,
    w_ssl: weight,
    w_rec: weight,
    w_lpips: weight,
    w_koleo: weight,
    local_crops: z.int().nonnegative(),
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

export type PretrainRecipe = z.infer<typeof schema>
export type HyperParameters = PretrainRecipe['hyper_parameters']

/** Throws usage error `bad_recipe` that names every value that is wrong. */
export function parsePretrainRecipe(text: string, file: string): PretrainRecipe {
  let raw: unknown
  try {
    raw = JSON.parse(text)
  } catch (error) {
    throw usageError('bad_recipe', `${file} is not valid JSON: ${errorText(error)}`)
  }
  const parsed = schema.safeParse(raw)
  if (!parsed.success) {
    const issues = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
    throw usageError('bad_recipe', `${file} is not a recipe of pre-training: ${issues.join('; ')}`, [
      'give {"config": …, "hyper_parameters": …} with the keys that the messages name',
    ])
  }
  const { w_clip, w_ssl, w_rec } = parsed.data.hyper_parameters
  if (w_clip + w_ssl + w_rec === 0)
    throw usageError('bad_recipe', `${file}: w_clip, w_ssl and w_rec are all 0, so there is nothing to train`)
  return parsed.data
}

export async function readPretrainRecipe(file: string): Promise<PretrainRecipe> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw usageError('recipe_unreadable', `The recipe ${file} cannot be read: ${errorText(error)}`)
  })
  return parsePretrainRecipe(text, file)
}
