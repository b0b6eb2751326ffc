/** Generation for programs and for the command line: options with defaults → the job. */
import { chooseDevice } from '../engine/choose-device.js'
import type { Device } from '../engine/device.js'
import { processorKind } from '../engine/processor.js'
import { type GenerateInfo, type GenerateRequest, type GenerateResult, runGenerate } from '../generate/job.js'
import type { GenerateOptions as Settings } from '../generate/prepare.js'
import { defaultCacheDir } from '../io/cache.js'
import type { ProgressSnapshot } from '../pipeline/stream/meter.js'

/** Samples per run of the engine on a CPU and on a GPU. */
const BATCH = { cpu: 4, gpu: 64 }

/** Settings of the sampler (`dit`, `stats`, `num`, `classes`, `seed`, `steps`, `cfgScale`, …) and how the job runs. */
export interface GenerateOptions
  extends Omit<Settings, 'dest' | 'overwrite' | 'precision' | 'device' | 'processor' | 'cacheDir'> {
  /** A folder or `s3://bucket/prefix`. */
  out: string
  /** Delete the output of another run in `out`. */
  overwrite?: boolean
  /** `auto` (the default), `cpu`, `cuda` or `cuda:1`. */
  device?: string
  precision?: string
  requireGpu?: boolean
  /** Samples per run of the engine. It does not change the images. */
  batchSize?: number
  worker?: { index: number; count: number }
  units?: number[]
  helpOthers?: boolean
  /** Refuse to work on a run that another kind of processor has begun. */
  sameProcessor?: boolean
  /** Also write all images into samples.npz. */
  npz?: boolean
  /** Stops cleanly when it is aborted; a later call continues. */
  signal?: AbortSignal
  onStart?: (info: GenerateInfo) => void
  onProgress?: (snapshot: ProgressSnapshot) => void
}

/** The options as a request, on the device that they ask for. Throws usage errors. */
export function generateJob(options: GenerateOptions): { request: GenerateRequest; device: Device } {
  const { out, device: name = 'auto', precision = 'auto', requireGpu = false, signal, ...settings } = options
  const device = chooseDevice({ device: name, precision, requireGpu })
  const request: GenerateRequest = {
    ...settings,
    dest: out,
    overwrite: options.overwrite ?? false,
    precision: device.precision,
    device: device.kind,
    processor: processorKind(),
    cacheDir: defaultCacheDir(),
    batchSize: options.batchSize ?? BATCH[device.kind === 'cpu' ? 'cpu' : 'gpu'],
    engine: device,
    worker: options.worker ?? { index: 0, count: 1 },
    helpOthers: options.helpOthers ?? true,
    npz: options.npz ?? false,
    stop: signal,
  }
  return { request, device }
}

/** Generates images with a LightningDiT and a pixel decoder: PNG files in `out`, resumable. */
export function generate(options: GenerateOptions): Promise<GenerateResult> {
  return runGenerate(generateJob(options).request)
}
