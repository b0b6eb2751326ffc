/** Training for programs and for the command line: options with defaults → the job. */
import { chooseDevice } from '../engine/choose-device.js'
import type { Device } from '../engine/device.js'
import { usageError } from '../errors.js'
import { defaultCacheDir } from '../io/cache.js'
import { runTrain } from '../train/job.js'
import type { TrainProgress } from '../train/progress.js'
import type { TrainOptions as Settings, TrainRequest, TrainResult, TrainStart } from '../train/request.js'
import type { EvaluationOptions } from '../train/sampling.js'

/** What is trained (`latents`, `ditConfig`, `size`, `init`, `steps`, …) and how the job runs. */
export interface TrainOptions extends Settings {
  /** A folder. */
  out: string
  /** Delete the output of another run in `out`. */
  overwrite?: boolean
  /** `auto` (the default), `cpu`, `cuda` or `cuda:1`. */
  device?: string
  /** Of the engine; default: the cores that this process may use. It changes no bit of the result. */
  threads?: number
  /** The tokenizer whose decoder shows samples. */
  model?: string
  /** Samples of a grid; default 2 rows of 5. */
  grid?: { rows: number; columns: number }
  samplingSteps?: number
  timestepShift?: number
  cfgScale?: number
  /** What samples are compared with: statistics (.npz) or images. */
  reference?: string
  /** Samples that are judged; default 1000. */
  evalNum?: number
  flavour?: EvaluationOptions['flavour']
  dims?: EvaluationOptions['dims']
  /** Folder of Inception's weights, and where they are fetched from. */
  weights?: string
  weightsUrl?: string
  /** Stops cleanly when it is aborted; a later call continues. */
  signal?: AbortSignal
  onNote?: (line: string) => void
  onStart?: (info: TrainStart) => void
  onProgress?: (progress: TrainProgress) => void
}

/** The options as a request, on the device that they ask for. Throws usage errors. */
export function trainJob(options: TrainOptions): { request: TrainRequest; device: Device } {
  const device = chooseDevice({ device: options.device ?? 'auto', precision: 'fp32', requireGpu: false })
  if (options.reference !== undefined && options.evalEvery === undefined)
    throw usageError('bad_eval', '--reference goes with --eval-every', ['say how often: --eval-every 5000'])
  const { out, signal, overwrite = false, threads, reference, ...settings } = options
  const request: TrainRequest = {
    ...settings,
    dest: out,
    overwrite,
    engine: device,
    threads: threads ?? device.cores,
    cacheDir: defaultCacheDir(),
    sampling: {
      model: options.model,
      grid: options.grid ?? { rows: 2, columns: 5 },
      steps: options.samplingSteps ?? 50,
      timestepShift: options.timestepShift ?? 0,
      cfgScale: options.cfgScale ?? 1,
      engine: device,
      cacheDir: defaultCacheDir(),
    },
    evaluation:
      reference === undefined
        ? undefined
        : {
            reference,
            num: options.evalNum ?? 1000,
            flavour: options.flavour ?? 'adm',
            dims: options.dims ?? 2048,
            weights: { dir: options.weights, baseUrl: options.weightsUrl },
          },
    stop: signal,
  }
  return { request, device }
}

/** Trains a LightningDiT on latents: checkpoints, log, samples and report in `out`. The same call continues. */
export function train(options: TrainOptions): Promise<TrainResult> {
  return runTrain(trainJob(options).request)
}
