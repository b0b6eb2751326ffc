/**
 * What a precision costs and gains: the same images through the model at every precision of the device,
 * compared with fp32 on a CPU, because a GPU's fp32 is TF32. Errors are those of the outputs as they leave the
 * graph (float32); reconstructions are decoded at the same precision. Under autocast PyTorch rounds much the same
 * values to bfloat16 as the simulated graph does, so its error stands beside the others; its speed does not, and
 * it runs on the CPU too.
 */
import { cpuDevice, type Device } from '../engine/device.js'
import { openImageDecoder } from '../engine/image-decoder.js'
import { openImageEncoder } from '../engine/image-encoder.js'
import type { ImageModel, ModelOutput, Precision } from '../model/index.js'
import {
  decodeFewImages,
  encodeFewImages,
  type FewImages,
  type FewImagesRequest,
  type FoundBesides,
  type Outputs,
  readFewImages,
} from './few-images.js'

export interface ModelCheckRequest extends Omit<FewImagesRequest, 'cores'> {
  model: ImageModel
  /** Images per pass that were asked for; default: what suits the device. */
  batchSize?: number
  /** Besides fp32, which everything is compared with. */
  precisions: Precision[]
  device: Device
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

export interface ModelCheck extends FoundBesides {
  images: number
  transform: string
  precisions: PrecisionCheck[]
}

/** Runs every precision over the first images of a source. Throws usage error `no_images` when none can be read. */
export async function runModelCheck(request: ModelCheckRequest): Promise<ModelCheck> {
  const transform = request.model.transform('encode')
  const { pixels, besides } = await readFewImages({ ...request, cores: request.device.cores }, transform)
  const result: ModelCheck = { images: pixels.count, ...besides, transform, precisions: [] }
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

async function encodeAll(
  { model, device, batchSize, stop, onNote }: ModelCheckRequest,
  precision: Precision,
  pixels: FewImages,
): Promise<{ outputs: Outputs; imagesPerSecond: number }> {
  const { count: images, height, width } = pixels
  const size = { height, width }
  const outputs = model.outputs(size).map(({ name }) => name as ModelOutput)
  const encoder = await openImageEncoder(model, { device, size, outputs, precision, batchSize, images, onNote })
  try {
    // The first batch is run twice: threads and memory are set up in it.
    const rows = Math.min(encoder.batchSize, images)
    await encoder.encode(pixels.data.slice(0, (rows * pixels.data.length) / images), rows)
    const began = performance.now()
    const made = await encodeFewImages(encoder, pixels, stop)
    return { outputs: made, imagesPerSecond: (1000 * images) / (performance.now() - began) }
  } finally {
    await encoder.close()
  }
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
  { data, count, height, width }: FewImages,
): Promise<number | null> {
  if (!latents || !model.decoder) return null
  const [, h, w] = model.decoder.latentShape({ height, width })
  const grid = { height: h, width: w }
  const made = model.decoder.imageSize(grid)
  if (made.height !== height || made.width !== width) return null
  const options = { device, grid, precision, batchSize, images: count, onNote }
  const decoder = await openImageDecoder(model, 'pixels', options)
  try {
    const images = await decodeFewImages(decoder, latents, count)
    const size = data.length / count
    let sum = 0
    for (let start = 0; start < data.length; start += size) {
      let squares = 0
      for (let k = start; k < start + size; k++) squares += (images[k]! - data[k]!) ** 2
      sum += 10 * Math.log10(255 ** 2 / Math.max(squares / size, 1e-10))
    }
    return sum / count
  } finally {
    await decoder.close()
  }
}
