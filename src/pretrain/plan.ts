/**
 * The plan of a pre-training, stored in DEST as `_vtp/plan.json`. Its hash covers what decides the bytes of checkpoints:
 * neither threads and folders nor how often something is saved, drawn or judged; the last step only where a schedule
 * depends on it.
 */
import * as z from 'zod'
import { PLAN_FIELDS, trainingPlans } from '../train/settle-plan.js'
import { CONFIG_KEYS, type PretrainRecipe } from './recipe.js'

const named = z.object({ name: z.string(), digest: z.string() })

const settingsSchema = z.object({
  version: z.literal(1),
  kind: z.literal('pretrain'),
  /** Of draws and fresh weights. */
  seed: z.int().nonnegative(),
  data: named.extend({ rows: z.int() }),
  captions: z.string().nullable(),
  init: named.nullable(),
  model: z.record(z.string(), z.unknown()),
  /** What the recipe decides, defaults included. */
  config: z.record(z.string(), z.unknown()),
  hyperParameters: z.record(z.string(), z.unknown()),
  /** Whose trunk the model files hold. */
  exported: z.string(),
  device: z.string(),
  engine: z.string(),
})

const planSchema = settingsSchema.extend(PLAN_FIELDS)

export type PretrainSettings = z.infer<typeof settingsSchema>
export type PretrainPlan = z.infer<typeof planSchema>

/** Keys of a recipe that do not decide the bytes. */
const FREE_KEYS = ['n_steps', 'save_every']

/** The part of a recipe's `config` that belongs into a plan. */
export function plannedConfig({ config }: PretrainRecipe): Record<string, unknown> {
  const kept = Object.entries(config).filter(
    ([key, value]) => CONFIG_KEYS.includes(key) && !FREE_KEYS.includes(key) && value !== undefined,
  )
  return Object.fromEntries(kept)
}

/** Throws usage errors as `TrainingPlans`. */
export const pretrainPlans = trainingPlans<PretrainPlan>({
  command: 'pretrain',
  schema: planSchema,
  decisive(plan) {
    const { data, init, captions: _, ...rest } = settingsSchema.parse(plan)
    return { ...rest, data: data.digest, init: init?.digest ?? null }
  },
  readable: (plan, key) => (key === 'data' || key === 'init' ? (plan[key]?.name ?? 'none') : undefined),
  flags: { seed: '--seed', exported: '--export', init: '--init', data: 'SOURCE' },
})
