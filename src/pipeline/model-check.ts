/**
 * What a precision costs and gains: the same images through the model at every precision of the device,
 * compared with fp32 on a CPU, because a GPU's fp32 is TF32. Errors are those of the outputs as they leave the
 * graph (float32); reconstructions are decoded at the same precision. Under autocast PyTorch rounds much the same
 * values to bfloat16 as the simulated graph does, so its error stands beside the others; its speed does not, and
 * it runs on the CPU too.
 */
import { mapOrdered } from '../async/stages.js'
import type { Session } from '../engine/session.js'
import { openSessions } from '../engine/session-pool.js'
import { usageError } from '../errors.js'
import { openPixelPool } from '../image/pool/pool.js'
import { parseTransform } from '../image/transform.js'
import { openSource } from '../io/sources/index.js'
import {
  compileDecoder,
  compileEncoder,
  describeOutputs,
  type GraphFile,
  type Model,
  type Precision,
} from '../model/index.js'
import { readEntryPixels } from './stream/entry-pixels.js'

export interface ModelCheckRequest {
  model: Model
  source: string
  /** At most this many images. */
  limit: number
  batchSize: number
  /** Besides fp32, which everything is compared with. */
  precisions: Precision[]
  providers: string[]
  threads: number
  stop?: AbortSignal
  onNote?: (line: string) => void
}

export interface OutputError {
  output: string
  /** Σ|a − b| / Σ|b|, b being fp32. */
  meanRelative: number
  /** Mean over images of the cosine between a and b. */
  cosine: number
}

export interface PrecisionCheck {
  precision: Precision
  errors: OutputError[]
  /** Mean PSNR in dB of the reconstructions against the preprocessed images; null without a decoder. */
  psnr: number | null
  /** Its difference from fp32. */
  psnrChange: number | null
  /** Of the encoder alone, without preprocessing; null for a simulation. */
  imagesPerSecond: number | null
}

export interface ModelCheck {
  images: number
  rejects: number
  transform: string
  precisions: PrecisionCheck[]
}

interface Pixels {
  data: Uint8Array // [N, H, W, 3]
  count: number
  height: number
  width: number
}

type Outputs = Record<string, Float32Array>

/** Runs every precision over the first images of a source. Throws usage error `no_images` when none can be read. */
export async function runModelCheck(request: ModelCheckRequest): Promise<ModelCheck> {
  const { image_size, vision_patch_size } = request.model.config
  const size = Math.max(1, Math.floor(image_size / vision_patch_size)) * vision_patch_size
  const transform = `resize(${size},${size},bilinear)`
  const { pixels, rejects } = await readPixels(request, transform)
  const result: ModelCheck = { images: pixels.count, rejects, transform, precisions: [] }
  const onCpu = { ...request, providers: ['cpu'] }
  let exact: Outputs | undefined
  if (request.providers[0] !== 'cpu') {
    request.onNote?.(`fp32 on the CPU: ${pixels.count} images`)
    exact = (await encodeAll(onCpu, 'fp32', pixels)).outputs
  }
  for (const precision of ['fp32' as const, ...request.precisions.filter((name) => name !== 'fp32')]) {
    request.stop?.throwIfAborted()
    request.onNote?.(`${precision}: ${pixels.count} images`)
    const run = precision === 'bf16-simulated' ? onCpu : request
    const { outputs, imagesPerSecond } = await encodeAll(run, precision, pixels)
    exact ??= outputs
    const psnr = await reconstructionPsnr(run, precision, outputs, pixels)
    const first = result.precisions[0]?.psnr ?? psnr
    result.precisions.push({
      precision,
      errors: compareOutputs(outputs, exact, pixels.count),
      psnr,
      psnrChange: psnr === null || first === null ? null : psnr - first,
      imagesPerSecond: precision === 'bf16-simulated' ? null : imagesPerSecond,
    })
  }
  return result
}

async function readPixels(request: ModelCheckRequest, spec: string): Promise<{ pixels: Pixels; rejects: number }> {
  const transform = parseTransform(spec)
  const source = await openSource(request.source)
  const pool = openPixelPool(request.threads)
  const images: Uint8Array[] = []
  let rejects = 0
  try {
    const read = mapOrdered(source.list(request.stop), pool.capacity, (entry) =>
      readEntryPixels(source, pool, entry, { views: [{ kind: 'transform', spec }], stop: request.stop }),
    )
    for await (const one of read) {
      if (images.length === request.limit) break
      if ('reject' in one) rejects++
      else images.push(one.pictures[0]!.data as Uint8Array)
    }
  } finally {
    await pool.close()
    await source.close()
  }
  if (images.length === 0) {
    throw usageError('no_images', `No image of ${request.source} can be used (${rejects} cannot be decoded)`, [
      'give a folder, a list, tar shards or Parquet files with images',
    ])
  }
  const { height, width } = transform
  const data = new Uint8Array(images.length * height * width * 3)
  images.forEach((image, i) => {
    data.set(image, i * image.length)
  })
  return { pixels: { data, count: images.length, height, width }, rejects }
}

async function encodeAll(
  request: ModelCheckRequest,
  precision: Precision,
  { data, count, height, width }: Pixels,
): Promise<{ outputs: Outputs; imagesPerSecond: number }> {
  const names = describeOutputs(request.model, height, width).map(({ name }) => name)
  const graph = await compileEncoder(request.model, {
    height,
    width,
    outputs: names as Parameters<typeof compileEncoder>[1]['outputs'],
    dtype: 'float32',
    precision,
    device: request.providers[0]!.split(':')[0]!,
  })
  const session = await open(request, graph)
  try {
    const parts: Record<string, Float32Array[]> = {}
    // The first batch is run twice: threads and memory are set up in it.
    await runRows(session, 'pixels', data, [count, height, width, 3], 0, Math.min(count, request.batchSize))
    let seconds = 0
    for (let start = 0; start < count; start += request.batchSize) {
      request.stop?.throwIfAborted()
      const rows = Math.min(request.batchSize, count - start)
      const result = await runRows(session, 'pixels', data, [count, height, width, 3], start, rows)
      seconds += result.seconds
      for (const name of names) {
        parts[name] ??= []
        parts[name].push(result.outputs[name]!.data as Float32Array)
      }
    }
    return {
      outputs: Object.fromEntries(names.map((name) => [name, concat(parts[name]!)])),
      imagesPerSecond: count / seconds,
    }
  } finally {
    await session.close()
  }
}

/** With halved batches where a GPU has not enough memory. */
function open({ providers, threads, batchSize, onNote }: ModelCheckRequest, graph: GraphFile): Promise<Session> {
  return openSessions({ graph, lanes: [providers], threads, batchSize, onNote })
}

function runRows(
  session: Session,
  name: string,
  data: Uint8Array | Float32Array,
  dims: number[],
  start: number,
  rows: number,
): ReturnType<Session['run']> {
  const size = data.length / dims[0]!
  const part = data.slice(start * size, (start + rows) * size)
  const dtype = part instanceof Uint8Array ? 'uint8' : 'float32'
  return session.run({ [name]: { data: part, dtype, dims: [rows, ...dims.slice(1)] } })
}

function concat(parts: Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** Errors of every output against the exact one. */
export function compareOutputs(outputs: Outputs, exact: Outputs, images: number): OutputError[] {
  return Object.entries(exact).map(([output, b]) => {
    const a = outputs[output]!
    const size = b.length / images
    let [difference, magnitude, cosines] = [0, 0, 0]
    for (let i = 0; i < images; i++) {
      let [dot, aa, bb] = [0, 0, 0]
      for (let k = i * size; k < (i + 1) * size; k++) {
        difference += Math.abs(a[k]! - b[k]!)
        magnitude += Math.abs(b[k]!)
        dot += a[k]! * b[k]!
        aa += a[k]! ** 2
        bb += b[k]! ** 2
      }
      cosines += aa === 0 && bb === 0 ? 1 : dot / Math.sqrt(aa * bb)
    }
    return { output, meanRelative: magnitude === 0 ? 0 : difference / magnitude, cosine: Math.min(1, cosines / images) }
  })
}

async function reconstructionPsnr(
  request: ModelCheckRequest,
  precision: Precision,
  { latents }: Outputs,
  { data, count, height, width }: Pixels,
): Promise<number | null> {
  const { config } = request.model
  const patch = config.vision_patch_size
  // The decoder always enlarges 16 times: with another patch its images have another size.
  if (!latents || !config.train_reconstruction || patch !== 16) return null
  const [h, w] = [Math.floor(height / patch), Math.floor(width / patch)]
  const graph = await compileDecoder(request.model, { height: h, width: w, precision })
  const session = await open(request, graph)
  try {
    const channels = latents.length / (count * h * w)
    const size = data.length / count
    let sum = 0
    for (let start = 0; start < count; start += request.batchSize) {
      const rows = Math.min(request.batchSize, count - start)
      const { outputs } = await runRows(session, 'latents', latents, [count, channels, h, w], start, rows)
      const images = outputs.pixels!.data as Uint8Array
      for (let i = 0; i < rows; i++) {
        let squares = 0
        for (let k = 0; k < size; k++) squares += (images[i * size + k]! - data[(start + i) * size + k]!) ** 2
        sum += 10 * Math.log10(255 ** 2 / Math.max(squares / size, 1e-10))
      }
    }
    return sum / count
  } finally {
    await session.close()
  }
}
