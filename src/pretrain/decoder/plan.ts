/**
 * The plan of a stage of the decoder, stored in DEST as `_vtp/plan.json`. Its hash covers what decides the bytes of
 * checkpoints, and nothing else.
 */
import * as z from 'zod'
import type { Store } from '../../io/store.js'
import { loadPlanOf } from '../../pipeline/ledger/plan.js'
import { decisiveHash, type PlanKind, settlePlan } from '../../train/settle-plan.js'

const KIND_NAME = 'pretrain --stage decoder'
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

const planSchema = settingsSchema.extend({
  hash: z.string(),
  vtp: z.string(),
  /** What decided the engine's kernels where the run began; not part of the hash. */
  processor: z.string().optional(),
})

export type DecoderSettings = z.infer<typeof settingsSchema>
export type DecoderPlan = z.infer<typeof planSchema>

function decisive(settings: DecoderSettings): Record<string, unknown> {
  const { data, init, ...rest } = settingsSchema.parse(settings)
  return { ...rest, data: data.digest, init: init.digest }
}

export function makeDecoderPlan(
  settings: Omit<DecoderSettings, 'version' | 'kind'>,
  more: Pick<DecoderPlan, 'vtp' | 'processor'>,
): DecoderPlan {
  const all: DecoderSettings = { version: 1, kind: KIND_NAME, ...settings }
  // In the order of the schema, as a plan that was stored has it: checkpoints tell of it.
  return planSchema.parse({ ...all, hash: decisiveHash(decisive(all)), ...more })
}

/** Undefined where DEST holds no run. Throws usage error `other_plan` where it holds one of another command. */
export function loadDecoderPlan(store: Store): Promise<DecoderPlan | undefined> {
  return loadPlanOf(store, KIND_NAME, planSchema)
}

const KIND: PlanKind<DecoderPlan> = {
  load: loadDecoderPlan,
  decisive,
  readable: (plan, key) => (key === 'data' || key === 'init' ? plan[key].name : undefined),
  flags: { seed: '--seed', init: '--init', data: 'SOURCE', perceptual: '--weights' },
}

/** As `settlePlan`. */
export const settleDecoderPlan = (
  store: Store,
  plan: DecoderPlan,
  dest: string,
): Promise<{ plan: DecoderPlan; resumed: boolean }> => settlePlan(store, plan, dest, KIND)
