/** What decides the arithmetic of a training, from the request, else the configuration, else the reference's defaults. */
import { usageError } from '../errors.js'
import { type DitConfig, ditTokens } from '../model/lightningdit/config.js'
import { OPTIMIZER_DEFAULTS, type OptimizerSettings } from './adamw.js'
import { precisionOf } from './precision.js'
import type { TrainRecipe } from './recipe.js'
import type { TrainRequest } from './request.js'
import { rateAt, type Schedule } from './schedule.js'
import type { TrainSettings } from './step.js'
import type { Transport } from './transport.js'

/** Tokens that are computed at once, where nobody says how many samples. */
const MICRO_TOKENS = 4096

const DEFAULT_BATCH = 256
const DEFAULT_TRANSPORT: Transport = { path: 'Linear', prediction: 'velocity', lossWeight: 'none' }

/** Images of a step; `given`: those of a replay. Throws usage error `bad_batch_size`. */
export function chooseBatch(request: TrainRequest, recipe: TrainRecipe | undefined, given?: number): number {
  if (given === undefined) return request.batchSize ?? recipe?.batch ?? DEFAULT_BATCH
  if (request.batchSize === undefined || request.batchSize === given) return given
  throw usageError(
    'bad_batch_size',
    `--batch-size ${request.batchSize}: the batches of ${request.replay} have ${given} samples`,
  )
}

/** Throws usage error `bad_multiplier`. */
export function chooseMultiplier(request: TrainRequest, recipe: TrainRecipe | undefined): number {
  const multiplier = request.latentMultiplier ?? recipe?.latentMultiplier ?? 1
  if (multiplier > 0) return multiplier
  throw usageError('bad_multiplier', `--latent-multiplier ${multiplier} is not above 0`)
}

/** Throws usage error `bad_number`. */
export function chooseDropout({ labelDropout = 0.1 }: TrainRequest): number {
  if (labelDropout >= 0 && labelDropout <= 1) return labelDropout
  throw usageError('bad_number', `--label-dropout ${labelDropout} is not from 0 to 1`, [
    'it is the share of labels that are dropped, e.g. 0.1',
  ])
}

/** Number of the last step. Throws usage error `steps_missing`. */
export function chooseSteps(request: TrainRequest, recipe: TrainRecipe | undefined): number {
  const steps = request.steps ?? recipe?.maxSteps
  if (steps !== undefined) return steps
  throw usageError('steps_missing', 'How many steps are to be trained is not said', [
    'give --steps, e.g. --steps 100000',
  ])
}

/** What the graph of a step is built from. Throws usage errors of what does not fit together. */
export function settingsOf(
  request: TrainRequest,
  recipe: TrainRecipe | undefined,
  { config, batch, optimizer }: { config: DitConfig; batch: number; optimizer: OptimizerSettings },
): TrainSettings {
  const transport = recipe?.transport ?? DEFAULT_TRANSPORT
  const microBatch = chooseMicroBatch(request, config, batch)
  return {
    ...{ config, microBatch, transport, optimizer },
    microBatches: batch / microBatch,
    cosineLoss: (request.cosineLoss ?? recipe?.cosineLoss ?? true) && transport.prediction === 'velocity',
    checkpointActivations: request.checkpointActivations ?? false,
    ...precisionOf(request),
  }
}

/** Samples that are computed at once. Throws usage error `bad_micro_batch`. */
function chooseMicroBatch({ microBatch }: TrainRequest, config: DitConfig, batch: number): number {
  if (microBatch !== undefined) {
    if (batch % microBatch === 0) return microBatch
    throw usageError('bad_micro_batch', `--micro-batch ${microBatch} does not divide the batch of ${batch}`, [
      `choose a divisor of ${batch}`,
    ])
  }
  const tokens = ditTokens(config)
  let size = batch
  while (size > 1 && (batch % size !== 0 || size * tokens > MICRO_TOKENS)) size--
  return size
}

/** Throws usage error `bad_number`. */
export function optimizerOf(request: TrainRequest, recipe: TrainRecipe | undefined): OptimizerSettings {
  const within = (flag: string, value: number, low: number, high: number): void => {
    if (value >= low && value < high) return
    throw usageError('bad_number', `${flag} ${value} is not from ${low} to below ${high}`)
  }
  const beta2 = request.beta2 ?? recipe?.beta2 ?? OPTIMIZER_DEFAULTS.beta2
  const emaDecay = request.emaDecay ?? OPTIMIZER_DEFAULTS.emaDecay
  within('--beta2', beta2, 0, 1)
  within('--ema-decay', emaDecay, 0, 1)
  within('--weight-decay', request.weightDecay ?? 0, 0, 1e6)
  within('--max-grad-norm', request.maxGradNorm ?? 0, 0, Number.POSITIVE_INFINITY)
  const asked = request.maxGradNorm ?? recipe?.maxGradNorm
  const maxGradNorm = asked === 0 ? undefined : asked
  return {
    ...OPTIMIZER_DEFAULTS,
    beta2,
    emaDecay,
    weightDecay: request.weightDecay ?? OPTIMIZER_DEFAULTS.weightDecay,
    ...(maxGradNorm !== undefined && { maxGradNorm }),
  }
}

/** Throws usage error `bad_number`. */
export function scheduleOf(request: TrainRequest, recipe: TrainRecipe | undefined, steps: number): Schedule {
  const lr = request.lr ?? recipe?.lr ?? 2e-4
  if (!(lr > 0 && Number.isFinite(lr))) throw usageError('bad_number', `--lr ${lr} is not above 0`)
  const kind = request.schedule ?? 'constant'
  const schedule: Schedule = { kind, lr, warmup: request.warmup ?? 0, ...(kind === 'cosine' && { steps }) }
  rateAt(schedule, 1)
  return schedule
}
