/**
 * The plan of a generation run, stored in DEST as `_vtp/plan.json`. As for `vtp encode`, its hash covers
 * what decides the bytes of the images and nothing else: not the batch size, threads or workers, nor what
 * is made of the images at the end (.npz, preview).
 */
import { createHash } from 'node:crypto'
import * as z from 'zod'
import type { Store } from '../io/store.js'
import { difference, loadPlanOf, otherPlan } from '../pipeline/ledger/plan.js'

const settingsSchema = z.object({
  version: z.literal(1),
  kind: z.literal('generate'),
  num: z.int().positive(),
  /** How classes are assigned, for people, and the digest of all of them. */
  labels: z.object({ mode: z.string(), sha256: z.string() }),
  noise: z.string(),
  dit: z.object({ name: z.string(), digest: z.string() }),
  model: z.object({ name: z.string(), digest: z.string() }),
  stats: z.object({ name: z.string(), digest: z.string() }),
  latentMultiplier: z.number(),
  normalize: z.enum(['imagenet', 'half']),
  sampler: z.object({
    method: z.enum(['euler', 'heun', 'dopri5']),
    steps: z.int(),
    timestepShift: z.number(),
    /** Only dopri5 has these. */
    adaptive: z.object({ atol: z.number(), rtol: z.number(), group: z.int() }).nullable(),
  }),
  guidance: z.object({ scale: z.number(), intervalStart: z.number(), channels: z.int() }).nullable(),
  image: z.object({ height: z.int(), width: z.int() }),
  latents: z
    .object({ format: z.enum(['arrow', 'parquet', 'safetensors']), dtype: z.enum(['float16', 'float32']) })
    .nullable(),
  precision: z.string(),
  device: z.string(),
  shardRows: z.int().positive(),
  engine: z.string(),
})

const planSchema = settingsSchema.extend({
  hash: z.string(),
  vtp: z.string(),
  /** What decided the engine's kernels where the run began; not part of the hash. */
  processor: z.string().optional(),
  /** Hashes of the plans of fewer images that this one has followed, the first in front. */
  grewFrom: z.array(z.string()).optional(),
  /** Samples per unit; unit u holds the samples from the sum of those before it. */
  units: z.array(z.object({ rows: z.int().positive() })),
})

export type GenerateSettings = z.infer<typeof settingsSchema>
export type GeneratePlan = z.infer<typeof planSchema>

function decisive(settings: GenerateSettings): Record<string, unknown> {
  const { dit, model, stats, labels, ...rest } = settingsSchema.parse(settings)
  return { ...rest, dit: dit.digest, model: model.digest, stats: stats.digest, labels: labels.sha256 }
}

export function generateHash(settings: GenerateSettings): string {
  const ordered = Object.entries(decisive(settings)).sort(([a], [b]) => (a < b ? -1 : 1))
  return createHash('sha256').update(JSON.stringify(ordered)).digest('hex')
}

export function makePlan(settings: GenerateSettings, vtp: string, processor: string): GeneratePlan {
  const units = unitsOf(settings.num, settings.shardRows)
  return { ...settings, hash: generateHash(settings), vtp, processor, units }
}

/** `num` samples in units of `shardRows`; the last may be smaller. */
export function unitsOf(num: number, shardRows: number): GeneratePlan['units'] {
  return Array.from({ length: Math.ceil(num / shardRows) }, (_, u) => ({
    rows: Math.min(shardRows, num - u * shardRows),
  }))
}

/** Number of a unit's first sample. */
export function firstSample({ units }: Pick<GeneratePlan, 'units'>, unit: number): number {
  return units.slice(0, unit).reduce((sum, { rows }) => sum + rows, 0)
}

/** Whether two plans may only differ in how many images there are. */
export function sameButNumber(a: GenerateSettings, b: GenerateSettings): boolean {
  const rest = ({ num: _, labels: __, ...more }: Record<string, unknown>): string => JSON.stringify(more)
  return rest(decisive(a)) === rest(decisive(b)) && a.labels.mode === b.labels.mode
}

export function loadGeneratePlan(store: Store, name?: string): Promise<GeneratePlan | undefined> {
  return loadPlanOf(store, 'generate', planSchema, name)
}

/** Throws usage error `other_plan`, which names what differs. */
export function assertSame(there: GeneratePlan, now: GeneratePlan, dest: string): void {
  if (there.hash === now.hash) return
  const [a, b] = [decisive(there), decisive(now)]
  const names: Record<string, string> = { shardRows: '--shard-rows', num: '--num' }
  const lines = Object.keys(b)
    .map((key) => {
      const before = readable(there, key) ?? a[key]
      const after = readable(now, key) ?? b[key]
      if (JSON.stringify(a[key]) === JSON.stringify(b[key])) return undefined
      return difference(names[key] ?? key, before, after) ?? `${key}: ${JSON.stringify(after)} of other contents`
    })
    .filter((line) => line !== undefined)
  throw otherPlan(dest, lines)
}

function readable(plan: GeneratePlan, key: string): string | undefined {
  if (key === 'labels') return plan.labels.mode
  if (key === 'dit' || key === 'model' || key === 'stats') return plan[key].name
  return undefined
}
