/**
 * What a precision costs and gains: the same images through the model at every precision of the device,
 * compared with fp32 on a CPU, because a GPU's fp32 is TF32. Errors are those of the outputs as they leave the
 * graph (float32); reconstructions are decoded at the same precision. Under autocast PyTorch rounds much the same
 * values to bfloat16 as the simulated graph does, so its error stands beside the others; its speed does not, and
 * it runs on the CPU too.
 */
import { mapOrdered } from '../async/stages.js'
import { cpuDevice, type Device } from '../engine/device.js'
import { openImageDecoder } from '../engine/image-decoder.js'
import { openImageEncoder } from '../engine/image-encoder.js'
import { usageError } from '../errors.js'
import { openPixelPool } from '../image/pool/pool.js'
import { parseTransform } from '../image/transform.js'
import { type FieldNames, openSource } from '../io/sources/index.js'
import type { ImageModel, ModelOutput, Precision } from '../model/index.js'
import type { TensorData } from '../types.js'
import { countReject, type RejectCounts, sumCounts } from './ledger/rejects.js'
import { readEntryPixels } from './stream/entry-pixels.js'

export interface ModelCheckRequest {
  model: ImageModel
  source: string
  /** For SOURCE `-`. */
  stdin?: AsyncIterable<Uint8Array>
  /** Columns or fields of the source, where they do not have the usual names. */
  fields?: FieldNames
  /** At most this many images. */
  limit: number
  /** Images per pass that were asked for; default: what suits the device. */
  batchSize?: number
  /** Besides fp32, which everything is compared with. */
  precisions: Precision[]
  device: Device
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
  rejectsByCode: RejectCounts
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
  const transform = request.model.transform('encode')
  const { pixels, rejectsByCode } = await readPixels(request, transform)
  const result: ModelCheck = {
    images: pixels.count,
    rejects: sumCounts(rejectsByCode),
    rejectsByCode,
    transform,
    precisions: [],
  }
  const onCpu = { ...request, device: cpuDevice({ cores: request.device.cores }) }
  let exact: Outputs | undefined
  if (request.device.kind !== 'cpu') {
    request.onNote?.(`fp32 on the CPU: ${pixels.count} images`)
    exact = (await encodeAll(onCpu, 'fp32', pixels)).outputs
  }
  for (const precision of ['fp32' as const, ...request.precisions.filter((name) => name !== 'fp32')]) {
    request.stop?.throwIfAborted()
    const reason = request.model.refuses(precision)
    if (reason !== undefined) {
      request.onNote?.(`${precision} is left out: ${reason}`)
      continue
    }
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

async function readPixels(
  request: ModelCheckRequest,
  spec: string,
): Promise<{ pixels: Pixels; rejectsByCode: RejectCounts }> {
  const transform = parseTransform(spec)
  const source = await openSource(request.source, { fields: request.fields, stdin: request.stdin })
  const pool = openPixelPool(request.device.cores)
  const images: Uint8Array[] = []
  const rejectsByCode: RejectCounts = {}
  try {
    const read = mapOrdered(source.list(request.stop), pool.capacity, (entry) =>
      readEntryPixels(source, pool, entry, { views: [{ kind: 'transform', spec }], stop: request.stop }),
    )
    for await (const one of read) {
      if (images.length === request.limit) break
      if ('reject' in one) countReject(rejectsByCode, one.reject)
      else images.push(one.pictures[0]!.data as Uint8Array)
    }
  } finally {
    await pool.close()
    await source.close()
  }
  if (images.length === 0) {
    throw usageError(
      'no_images',
      `No image of ${request.source} can be used (${sumCounts(rejectsByCode)} cannot be decoded)`,
      ['give a folder, a list, tar shards or Parquet files with images'],
    )
  }
  const { height, width } = transform
  const data = new Uint8Array(images.length * height * width * 3)
  images.forEach((image, i) => {
    data.set(image, i * image.length)
  })
  return { pixels: { data, count: images.length, height, width }, rejectsByCode }
}

async function encodeAll(
  { model, device, batchSize, stop, onNote }: ModelCheckRequest,
  precision: Precision,
  { data, count, height, width }: Pixels,
): Promise<{ outputs: Outputs; imagesPerSecond: number }> {
  const size = { height, width }
  const outputs = model.outputs(size).map(({ name }) => name as ModelOutput)
  const encoder = await openImageEncoder(model, { device, size, outputs, precision, batchSize, images: count, onNote })
  const rowSize = height * width * 3
  const encode = (start: number) => {
    const rows = Math.min(encoder.batchSize, count - start)
    return encoder.encode(data.slice(start * rowSize, (start + rows) * rowSize), rows)
  }
  try {
    const parts: Record<string, TensorData[]> = {}
    // The first batch is run twice: threads and memory are set up in it.
    await encode(0)
    const began = performance.now()
    for await (const { tensors } of mapOrdered(starts(count, encoder.batchSize), device.lanes.length, encode)) {
      stop?.throwIfAborted()
      for (const name of outputs) {
        parts[name] ??= []
        parts[name].push(tensors[name]!)
      }
    }
    const seconds = (performance.now() - began) / 1000
    return {
      outputs: Object.fromEntries(outputs.map((name) => [name, concat(parts[name]!)])),
      imagesPerSecond: count / seconds,
    }
  } finally {
    await encoder.close()
  }
}

async function* starts(count: number, step: number): AsyncGenerator<number> {
  for (let start = 0; start < count; start += step) yield start
}

function concat(parts: TensorData[]): Float32Array {
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
  { model, device, batchSize, onNote }: ModelCheckRequest,
  precision: Precision,
  { latents }: Outputs,
  { data, count, height, width }: Pixels,
): Promise<number | null> {
  if (!latents || !model.decoder) return null
  const [channels, h, w] = model.decoder.latentShape({ height, width })
  const grid = { height: h, width: w }
  const made = model.decoder.imageSize(grid)
  if (made.height !== height || made.width !== width) return null
  const decoder = await openImageDecoder(model, 'pixels', { device, grid, precision, batchSize, images: count, onNote })
  try {
    const latentSize = channels * h * w
    const size = data.length / count
    let sum = 0
    const decode = async (start: number) => {
      const rows = Math.min(decoder.batchSize, count - start)
      return {
        start,
        images: await decoder.decode(latents.slice(start * latentSize, (start + rows) * latentSize), rows),
      }
    }
    for await (const { start, images } of mapOrdered(starts(count, decoder.batchSize), device.lanes.length, decode)) {
      for (let i = 0; i < images.length / size; i++) {
        let squares = 0
        for (let k = 0; k < size; k++) squares += (images[i * size + k]! - data[(start + i) * size + k]!) ** 2
        sum += 10 * Math.log10(255 ** 2 / Math.max(squares / size, 1e-10))
      }
    }
    return sum / count
  } finally {
    await decoder.close()
  }
}
