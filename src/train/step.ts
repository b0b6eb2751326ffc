/**
 * One optimiser step of a diffusion transformer, with its state. The contract for what is around it (data order,
 * checkpoints, log):
 *
 *   const step = await openTrainStep(settings, (kind, name) => Float32Array, { threads })
 *   const result = await step.run({ x1, x0, t, labels }, { step: n, lr })   // n counts the optimiser's steps from 1
 *   const results = await step.runSteps(batches, rates)                     // several steps in one run of the engine
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
 * - `inEngine` leaves the optimiser to the engine as well, so that the state stays on its device for the steps of a run
 *   (run-graph.ts). How many steps a run has decides no bit. Where gradients of a scaled loss overflow, the step is
 *   `skipped`: nothing is updated, and the optimiser does not count it.
 * - Tensors are those of `stateTensors(config)`: pos_embed has a parameter and an average, but no moments.
 *
 * Order of a step, as train.py: gradients of the mean loss; their global norm, and clipping by it; AdamW; the average
 * of the new parameters.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { openThread, type Thread } from '../async/thread.js'
import { workerUrl } from '../async/worker-url.js'
import { switchTelemetryOff } from '../engine/telemetry-off.js'
import { errorText, VtpError } from '../errors.js'
import { removeLeftOvers, temporaryName } from '../io/atomic.js'
import type { OptimizerSettings } from './adamw.js'
import { FIRST_SCALE, type LossScale } from './loss-scale.js'
import { buildRunGraph, type RunGraph } from './run-graph.js'
import { hasState, STATE_KINDS, type StateKind, stateTensors } from './state.js'
import { buildStepGraph, type StepGraph, type StepGraphSpec } from './step-graph.js'
import { planSamples, type Transport } from './transport.js'

export { OPTIMIZER_DEFAULTS, type OptimizerSettings } from './adamw.js'
export { hasState, isFrozen, STATE_KINDS, type StateKind, stateTensors } from './state.js'

export interface TrainSettings extends StepGraphSpec {
  transport: Transport
  optimizer: OptimizerSettings
  /** Optimiser and state in the engine; default: the engine computes gradients only. */
  inEngine?: { lossScale?: 'dynamic' | number }
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
  /** Gradients of a scaled loss have overflowed, and the state is as before. */
  skipped?: boolean
  /** What the loss was multiplied by. */
  lossScale?: number
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
  /** Steps one after the other, up to the first that is not finite; the optimiser counts from the first one's number. */
  runSteps(batches: readonly TrainBatch[], rates: readonly StepRates[]): Promise<StepResult[]>
  /** Where the scale of the loss is between runs. */
  lossScale(): LossScale | undefined
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
  /** Names of the graph's outputs: of a step, or of a run of steps. */
  outputs: Omit<StepGraph, 'graph'> | Omit<RunGraph, 'graph'>
  lossScale?: LossScale
  /** Leading sizes of a batch's tensors: [micro-batches, micro-batch], or [micro-batch]. */
  lead: number[]
  latent: number[]
  inputs: string[]
}

export type StepRequest =
  | { type: 'state'; kind: StateKind; name: string; values: Float32Array }
  | { type: 'run'; batches: readonly TrainBatch[]; plans: Float32Array[]; rates: readonly StepRates[] }
  | { type: 'read'; kind: StateKind; name: string }

/** To `run`: a result for every step that was tried. */
export interface RunReply {
  results: StepResult[]
  lossScale?: LossScale
}

/** To `run`, to `read` and to `state`. */
export type StepReply = RunReply | Float32Array | undefined

/** Opens a step. `scale`: where a dynamic scale of the loss is; default: at its beginning. Throws VtpError `engine_open_failed`, `bad_train_state`. */
export async function openTrainStep(
  settings: TrainSettings,
  initial: InitialState,
  engine: TrainEngine,
  scale?: LossScale,
): Promise<TrainStep> {
  const lossScale = firstScale(settings.inEngine?.lossScale, scale)
  // The graph is private to this run and gone once it is open; that of a killed run goes now.
  const folder = path.join(engine.cacheDir, 'train')
  await mkdir(folder, { recursive: true })
  await removeLeftOvers(folder)
  const file = temporaryName(path.join(folder, 'step.onnx'))
  switchTelemetryOff()
  let thread: StepThread | undefined
  try {
    const data = await writeGraph(file, settings, engine)
    thread = openThread(workerUrl('train/step-worker'), {
      data: { ...data, lossScale },
      failed: runFailed,
      uninterruptible: true,
    })
    await thread.ready.catch((error: unknown) => {
      throw openFailed(error)
    })
    await giveState(thread, data.shapes, initial)
  } catch (error) {
    await thread?.terminate()
    throw error
  } finally {
    await rm(file, { force: true })
  }
  return trainStep(thread, settings, lossScale)
}

function firstScale(asked: 'dynamic' | number | undefined, there: LossScale | undefined): LossScale | undefined {
  if (asked === undefined) return undefined
  return typeof asked === 'number' ? { scale: asked, good: 0 } : (there ?? { scale: FIRST_SCALE, good: 0 })
}

type StepThread = Thread<StepRequest, StepReply>

/** The graph's file, and what the worker has to know of it. */
async function writeGraph(
  file: string,
  settings: TrainSettings,
  { threads, providers = ['cpu'] }: TrainEngine,
): Promise<StepWorkerData> {
  const { config, microBatch, microBatches, inEngine, optimizer } = settings
  // As the reference: other predictions have no cosine loss, even where one is asked for.
  const cosineLoss = settings.cosineLoss && settings.transport.prediction === 'velocity'
  const spec = { ...settings, cosineLoss }
  const lossScale = typeof inEngine?.lossScale === 'number' ? 'static' : inEngine?.lossScale
  const { graph, ...outputs } = inEngine ? buildRunGraph({ ...spec, lossScale }) : buildStepGraph(spec)
  await writeFile(file, graph.encode(''))
  return {
    ...{ graph: file, threads, providers, optimizer, outputs },
    shapes: [...stateTensors(config)],
    lead: microBatches > 1 ? [microBatches, microBatch] : [microBatch],
    latent: [config.inChannels, config.inputSize, config.inputSize],
    inputs: graph.inputs.map(({ name }) => name),
  }
}

async function giveState(thread: StepThread, shapes: StepWorkerData['shapes'], initial: InitialState): Promise<void> {
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
}

function trainStep(thread: StepThread, settings: TrainSettings, scale: LossScale | undefined): TrainStep {
  const samples = settings.microBatch * settings.microBatches
  let lossScale = scale
  const runSteps: TrainStep['runSteps'] = async (batches, rates) => {
    for (const { t } of batches)
      if (t.length !== samples)
        throw new VtpError(`A batch of ${t.length} samples was given, ${samples} are expected`, {
          code: 'bad_train_batch',
        })
    const plans = batches.map(({ t }) => planSamples(settings.transport, t))
    const reply = (await thread.call({ type: 'run', batches, plans, rates })) as RunReply
    lossScale = reply.lossScale
    return reply.results
  }
  return {
    settings,
    run: async (batch, rates) => (await runSteps([batch], [rates]))[0]!,
    runSteps,
    lossScale: () => lossScale,
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
