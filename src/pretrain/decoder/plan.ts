/**
 * The plan of a stage of the decoder, stored in DEST as `_vtp/plan.json`. Its hash covers what decides the bytes of
 * checkpoints, and nothing else.
 */
import * as z from 'zod'
import { PLAN_FIELDS, trainingPlans } from '../../train/settle-plan.js'

export const KIND_NAME = 'pretrain --stage decoder'
const named = z.object({ name: z.string(), digest: z.string() })

const settingsSchema = z.object({
  version: z.literal(1),
  kind: z.literal(KIND_NAME),
  /** Of order, flips and fresh weights. */
  seed: z.int().nonnegative(),
  /** The latents, and the images that they were computed from. */
  data: named.extend({ rows: z.int() }),
  transform: z.string(),
  init: named,
  /** What the recipe decides, defaults included. */
  config: z.record(z.string(), z.unknown()),
  hyperParameters: z.record(z.string(), z.unknown()),
  /** SHA-256 of the weights of LPIPS, where it has a weight. */
  perceptual: z.array(z.string()).nullable(),
  device: z.string(),
  engine: z.string(),
})

const planSchema = settingsSchema.extend(PLAN_FIELDS)

export type DecoderSettings = z.infer<typeof settingsSchema>
export type DecoderPlan = z.infer<typeof planSchema>

/** Throws usage errors as `TrainingPlans`. */
export const decoderPlans = trainingPlans<DecoderPlan>({
  command: KIND_NAME,
  schema: planSchema,
  decisive(plan) {
    const { data, init, ...rest } = settingsSchema.parse(plan)
    return { ...rest, data: data.digest, init: init.digest }
  },
  readable: (plan, key) => (key === 'data' || key === 'init' ? plan[key].name : undefined),
  flags: { seed: '--seed', init: '--init', data: 'SOURCE', perceptual: '--weights' },
})
