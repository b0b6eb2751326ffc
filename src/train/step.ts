/**
 * One optimiser step of a diffusion transformer, with its state. The contract for what is around it (data order,
 * checkpoints, log):
 *
 *   const step = await openTrainStep(settings, (kind, name) => Float32Array, { threads })
 *   const result = await step.run({ x1, x0, t, labels }, { step: n, lr })   // n counts the optimiser's steps from 1
 *   const values = await step.read('ema', 'blocks.0.attn.qkv.weight')       // for a checkpoint
 *   await step.close()
 *
 * - Parameters, moments and averages live in a worker thread (step-worker.ts) and never leave it but by `read`.
 * - A run is a pure function of (state, batch, step, lr, settings): no clock, no random number, no number of threads
 *   decides a bit. Noise, times and dropped labels come with the batch (`labels` are the effective ones).
 * - The batch has microBatch × microBatches samples, in that order; x1 is data (already normalised), x0 noise, t = 1
 *   is data. The micro-batch decides bits and belongs into the plan; so does `checkpointActivations`.
 * - Where a loss or the norm of the gradients is not finite, nothing is updated and `finite` is false: `mse` and `cos`
 *   per sample say which ones.
 * - Tensors are those of `stateTensors(config)`: pos_embed has a parameter and an average, but no moments.
 *
 * Order of a step, as train.py: gradients of the mean loss; their global norm, and clipping by it; AdamW; the average
 * of the new parameters.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { openThread } from '../async/thread.js'
import { workerUrl } from '../async/worker-url.js'
import { switchTelemetryOff } from '../engine/telemetry-off.js'
import { errorText, VtpError } from '../errors.js'
import { removeLeftOvers, temporaryName } from '../io/atomic.js'
import type { OptimizerSettings } from './adamw.js'
import { hasState, STATE_KINDS, type StateKind, stateTensors } from './state.js'
import { buildStepGraph, type StepGraphSpec } from './step-graph.js'
import { planSamples, type Transport } from './transport.js'

export { OPTIMIZER_DEFAULTS, type OptimizerSettings } from './adamw.js'
export { hasState, isFrozen, STATE_KINDS, type StateKind, stateTensors } from './state.js'

export interface TrainSettings extends StepGraphSpec {
  transport: Transport
  optimizer: OptimizerSettings
}

/** Gives the first state of a tensor; the array is taken over. */
export type InitialState = (kind: StateKind, name: string) => Promise<Float32Array>

export interface TrainBatch {
  /** [samples, C, H, W] */
  x1: Float32Array
  x0: Float32Array
  /** [samples] */
  t: Float32Array
  labels: BigInt64Array
}

export interface StepRates {
  /** Of the optimiser, from 1. */
  step: number
  lr: number
}

export interface StepResult {
  /** False: a loss or the norm is NaN or infinite, and the state is as before. */
  finite: boolean
  /** Per sample, in the order of the batch. */
  mse: Float32Array
  /** Per sample; undefined without the cosine loss. */
  cos?: Float32Array
  /** Before clipping. */
  gradNorm: number
  seconds: { gradients: number; optimizer: number }
}

export interface TrainEngine {
  threads: number
  /** Where the graph is written for the engine to open; default: `VTP_CACHE`'s folder is the caller's business. */
  cacheDir: string
  /** Execution providers in order of preference. Default: the CPU. */
  providers?: string[]
}

export interface TrainStep {
  readonly settings: TrainSettings
  run(batch: TrainBatch, rates: StepRates): Promise<StepResult>
  /** A copy of one tensor's state as it is between runs. */
  read(kind: StateKind, name: string): Promise<Float32Array>
  close(): Promise<void>
}

/** What the worker is started with. */
export interface StepWorkerData {
  graph: string
  threads: number
  providers: string[]
  optimizer: OptimizerSettings
  /** Shapes of all tensors of the state. */
  shapes: [string, number[]][]
  /** Outputs of the graph. */
  gradients: [string, string][]
  mse: string
  cos?: string
  /** Leading sizes of a batch's tensors: [micro-batches, micro-batch], or [micro-batch]. */
  lead: number[]
  latent: number[]
  inputs: string[]
}

export type StepRequest =
  | { type: 'state'; kind: StateKind; name: string; values: Float32Array }
  | { type: 'run'; batch: TrainBatch; plan: Float32Array; rates: StepRates }
  | { type: 'read'; kind: StateKind; name: string }

/** To `run`, to `read` and to `state`. */
export type StepReply = StepResult | Float32Array | undefined

/** Opens a step. Throws VtpError `engine_open_failed`, `bad_train_state`. */
export async function openTrainStep(
  settings: TrainSettings,
  initial: InitialState,
  { threads, cacheDir, providers = ['cpu'] }: TrainEngine,
): Promise<TrainStep> {
  const { config, microBatch, microBatches } = settings
  // As the reference: other predictions have no cosine loss, even where one is asked for.
  const cosineLoss = settings.cosineLoss && settings.transport.prediction === 'velocity'
  const built = buildStepGraph({ ...settings, cosineLoss })
  const shapes = stateTensors(config)
  // The graph is private to this run and gone once it is open; that of a killed run goes now.
  const folder = path.join(cacheDir, 'train')
  await mkdir(folder, { recursive: true })
  await removeLeftOvers(folder)
  const file = temporaryName(path.join(folder, 'step.onnx'))
  await writeFile(file, built.graph.encode(''))
  const data: StepWorkerData = {
    graph: file,
    threads,
    providers,
    optimizer: settings.optimizer,
    shapes: [...shapes],
    gradients: [...built.gradients],
    mse: built.mse,
    cos: built.cos,
    lead: microBatches > 1 ? [microBatches, microBatch] : [microBatch],
    latent: [config.inChannels, config.inputSize, config.inputSize],
    inputs: built.graph.inputs.map(({ name }) => name),
  }
  switchTelemetryOff()
  const thread = openThread<StepRequest, StepReply, StepWorkerData>(workerUrl('train/step-worker'), {
    data,
    failed: runFailed,
    uninterruptible: true,
  })
  try {
    await thread.ready.catch((error: unknown) => {
      throw openFailed(error)
    })
    for (const [name, shape] of shapes) {
      for (const kind of STATE_KINDS) {
        if (!hasState(kind, name)) continue
        const values = await initial(kind, name)
        const count = shape.reduce((a, b) => a * b, 1)
        if (values.length !== count) {
          throw new VtpError(`The state ${kind} of ${name} has ${values.length} elements; [${shape}] needs ${count}`, {
            code: 'bad_train_state',
          })
        }
        const own = values.byteLength === values.buffer.byteLength && values.buffer instanceof ArrayBuffer
        const given = own ? values : values.slice()
        await thread.call({ type: 'state', kind, name, values: given }, [given.buffer as ArrayBuffer])
      }
    }
  } catch (error) {
    await thread.terminate()
    throw error
  } finally {
    await rm(file, { force: true })
  }
  const samples = microBatch * microBatches
  return {
    settings,
    async run(batch, rates) {
      if (batch.t.length !== samples)
        throw new VtpError(`A batch of ${batch.t.length} samples was given, ${samples} are expected`, {
          code: 'bad_train_batch',
        })
      const plan = planSamples(settings.transport, batch.t)
      return (await thread.call({ type: 'run', batch, plan, rates })) as StepResult
    },
    async read(kind, name) {
      return (await thread.call({ type: 'read', kind, name })) as Float32Array
    },
    close: () => thread.close(),
  }
}

function runFailed(why: string): VtpError {
  return new VtpError(`The engine failed: ${why}`, {
    code: 'engine_run_failed',
    suggestions: ['choose a smaller micro-batch, or --checkpoint-activations'],
  })
}

function openFailed(error: unknown): VtpError {
  const why = errorText(error).replace(/^The engine failed: /, '')
  return new VtpError(`The training graph could not be opened: ${why}`, {
    code: 'engine_open_failed',
    suggestions: ['free memory, or choose a smaller micro-batch'],
    cause: error,
  })
}
