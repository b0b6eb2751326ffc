/**
 * The plan of a training, stored in DEST as `_vtp/plan.json`. Its hash covers what decides the bytes of checkpoints and
 * the log's numbers, and nothing else: neither threads and folders nor how often something is saved, drawn or judged;
 * the last step only where the learning rate depends on it.
 */
import * as z from 'zod'
import { SCHEDULES } from './schedule.js'
import { PLAN_FIELDS, trainingPlans } from './settle-plan.js'
import { LOSS_WEIGHTS, PATHS, PREDICTIONS } from './transport.js'

const named = z.object({ name: z.string(), digest: z.string() })

const settingsSchema = z.object({
  version: z.literal(1),
  kind: z.literal('train'),
  /** Of draws and fresh weights. */
  seed: z.int().nonnegative(),
  /** Latents, or given batches. */
  data: named.extend({ kind: z.enum(['latents', 'replay']), rows: z.int().nullable() }),
  stats: named.nullable(),
  latentMultiplier: z.number(),
  init: named.extend({ step: z.int() }).nullable(),
  model: z.object({
    inputSize: z.int(),
    patchSize: z.int(),
    inChannels: z.int(),
    hiddenSize: z.int(),
    depth: z.int(),
    numHeads: z.int(),
    mlpRatio: z.number(),
    numClasses: z.int(),
    nullClass: z.boolean(),
    learnSigma: z.boolean(),
    qkNorm: z.boolean(),
    swiglu: z.boolean(),
    rope: z.boolean(),
    rmsNorm: z.boolean(),
    woShift: z.boolean(),
  }),
  batch: z.int().positive(),
  /** Samples that are computed at once: decides the order of sums, and so the last bits. */
  microBatch: z.int().positive(),
  checkpointActivations: z.boolean(),
  /** Of products; absent: float32. */
  precision: z.enum(['fp16', 'bf16']).optional(),
  /** Of an fp16 training. */
  lossScale: z.union([z.literal('dynamic'), z.number()]).optional(),
  /** Where the engine has the optimiser, too, and steps follow each other inside of it. */
  inEngine: z.literal(true).optional(),
  transport: z.object({ path: z.enum(PATHS), prediction: z.enum(PREDICTIONS), lossWeight: z.enum(LOSS_WEIGHTS) }),
  time: z.object({
    lognorm: z.object({ mu: z.number(), sigma: z.number() }).optional(),
    interval: z.tuple([z.number(), z.number()]),
  }),
  labelDropout: z.number(),
  cosineLoss: z.boolean(),
  optimizer: z.object({
    beta1: z.number(),
    beta2: z.number(),
    epsilon: z.number(),
    weightDecay: z.number(),
    emaDecay: z.number(),
    maxGradNorm: z.number().optional(),
  }),
  schedule: z.object({ kind: z.enum(SCHEDULES), lr: z.number(), warmup: z.int(), steps: z.int().optional() }),
  device: z.string(),
  engine: z.string(),
})

const planSchema = settingsSchema.extend({
  ...PLAN_FIELDS,
  /** The configuration that goes into checkpoints; what began the run decides. */
  recipe: z.record(z.string(), z.unknown()),
})

export type TrainPlanSettings = z.infer<typeof settingsSchema>
export type TrainPlan = z.infer<typeof planSchema>

/** Throws usage errors as `TrainingPlans`. */
export const trainPlans = trainingPlans<TrainPlan>({
  command: 'train',
  schema: planSchema,
  decisive(plan) {
    const { data, stats, init, ...rest } = settingsSchema.parse(plan)
    return { ...rest, data: data.digest, stats: stats?.digest ?? null, init: init ? [init.digest, init.step] : null }
  },
  readable(plan, key) {
    if (key === 'data' || key === 'stats' || key === 'init') return plan[key]?.name ?? 'none'
    if (key === 'precision') return plan.precision ?? 'fp32'
    if (key === 'lossScale') return String(plan.lossScale ?? 'none')
    if (key === 'inEngine') return plan.inEngine ? 'several' : '1'
    return undefined
  },
  flags: {
    batch: '--batch-size',
    microBatch: '--micro-batch',
    latentMultiplier: 'latent_multiplier',
    device: '--device',
    precision: '--precision',
    lossScale: '--loss-scale',
    inEngine: '--steps-per-run',
    seed: '--seed',
  },
})
