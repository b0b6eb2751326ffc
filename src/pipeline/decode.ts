/**
 * `vtp decode`: latents → PNG through the pixel decoder, or one image → its reconstruction. Pixels are
 * truncated to 8 bits as the reference does: (clamp(x, 0, 1) · 255) cut off, not rounded.
 */
import { readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { mapOrdered } from '../async/stages.js'
import { type Device, runsInFlight } from '../engine/device.js'
import { type ImageDecoder, openImageDecoder } from '../engine/image-decoder.js'
import { usageError, VtpError } from '../errors.js'
import { sideBySide } from '../image/montage.js'
import { onePicture, openPixelPool } from '../image/pool/pool.js'
import { findShards, openShard } from '../io/shards/index.js'
import type { ListingFacts } from '../io/sources/listing-report.js'
import { DEFAULT_MAX_BYTES } from '../io/sources/read-file.js'
import { uriScheme } from '../io/store.js'
import { float16ToFloat32 } from '../math/half.js'
import { decoderOf, type ImageModel, openModel } from '../model/index.js'
import { type Reject, RejectError, type RgbImage, type TensorData } from '../types.js'
import { decodeImages, openReconstructor, splitImages } from './decode-images.js'
import { planTransform } from './ledger/plan-request.js'
import type { RejectCounts } from './ledger/rejects.js'
import {
  folderOfPictures,
  IMAGE_EXTENSION,
  MOST_SHEET_IMAGES,
  type PictureSink,
  SHEET_IMAGES,
  sheetOfPictures,
  writePicture,
} from './pictures.js'

export interface DecodeRequest {
  /** A shard, a folder of shards, one image, or any SOURCE of images. */
  input: string
  /** A folder; for one image also a file name ending in .png; with `grid` a file. */
  out: string
  /** All in one picture, at most `limit` (64) of them. */
  grid?: { perRow?: number }
  /** Undefined: the model that the shards name, or the bundled one. */
  model: string
  cacheDir?: string
  /** Images per pass that were asked for; default: what suits the device. */
  batchSize?: number
  device: Device
  stdin?: AsyncIterable<Uint8Array>
  /** For images: original and reconstruction in one picture. */
  sideBySide: boolean
  transform?: string
  imageSize?: { height: number; width: number }
  /** Decode at most this many rows. */
  limit?: number
  /** Decode latents of another model than the one given. */
  anyModel: boolean
  stop?: AbortSignal
  onNote?: (line: string) => void
  onReject?: (reject: Reject) => void
  onProgress?: (done: number) => void
}

export interface DecodeResult {
  images: number
  /** Images that could not be read, and why. */
  rejects: number
  rejectsByCode: RejectCounts
  /** What the listing of images has passed over or lost; undefined for latents. */
  facts?: ListingFacts
  out: string
  seconds: number
  interrupted: boolean
}

/** Lists, tars, archives, and names of several files: never shards of latents. */
const SOURCE_NAME = /^-$|\.(txt|jsonl|ndjson|csv|tsv|tar|tar\.gz|tgz|npz)$|[*?{]/i

/** Decodes shards or images to PNG files, or to one sheet. */
export async function runDecode(asked: DecodeRequest): Promise<DecodeResult> {
  const began = performance.now()
  const request = asked.grid ? { ...asked, limit: sheetLimit(asked.limit) } : asked
  const sink = request.grid ? sheetOfPictures(request.out, request.grid.perRow) : folderOfPictures(request.out)
  const remote = uriScheme(request.input) === 's3'
  const info = remote ? undefined : await stat(request.input).catch(() => undefined)
  if (!remote && !info && !SOURCE_NAME.test(request.input)) {
    throw usageError('input_missing', `${request.input} does not exist`, [
      'give a shard, a folder of shards, one image, or a SOURCE of images',
    ])
  }
  const model = await openModel(request.model, { cacheDir: request.cacheDir })
  try {
    decoderOf(model)
    const single = (remote || info?.isFile()) && IMAGE_EXTENSION.test(request.input)
    const result = single
      ? await decodeOneImage(model, request)
      : (await holdsImages(request.input))
        ? await decodeSource(model, request, sink)
        : await decodeShards(model, request, sink)
    if (!result.interrupted) await sink.finish()
    return { rejects: 0, rejectsByCode: {}, ...result, seconds: (performance.now() - began) / 1000 }
  } finally {
    await model.close()
  }
}

/** A sheet is held in memory, and somebody looks at it. */
function sheetLimit(limit = SHEET_IMAGES): number {
  if (limit <= MOST_SHEET_IMAGES) return limit
  throw usageError('sheet_size', `A sheet holds at most ${MOST_SHEET_IMAGES} images, and --limit is ${limit}`, [
    'give a smaller --limit',
    'leave --grid out: then each image is a file',
  ])
}

/** Whether an input is a source of images, and not shards of something else. */
async function holdsImages(input: string): Promise<boolean> {
  if (SOURCE_NAME.test(input)) return true
  const files = await findShards(input).catch((error: unknown) => {
    if (error instanceof VtpError && error.code === 'no_shards') return []
    throw error
  })
  if (files.length === 0) return true
  const shard = await openShard(files[0]!)
  await shard.close()
  const names = shard.columns.map(({ name }) => name)
  return !names.includes('latents') && (names.includes('pixels') || names.length === 0)
}

function decodeSource(
  model: ImageModel,
  request: DecodeRequest,
  { put }: PictureSink,
): ReturnType<typeof decodeImages> {
  return decodeImages(model, { ...request, transform: planTransform(request, model, true), put })
}

async function readImage(input: string): Promise<Uint8Array> {
  if (uriScheme(input) !== 's3') return readFile(input)
  const { readObjectBytes } = await import('../io/sources/read-object.js')
  return readObjectBytes(input, undefined, undefined, { maxBytes: DEFAULT_MAX_BYTES })
}

async function decodeOneImage(
  model: ImageModel,
  request: DecodeRequest,
): Promise<Omit<DecodeResult, 'seconds' | 'rejects' | 'rejectsByCode'>> {
  const transform = planTransform(request, model, true)
  const { height, width } = transform
  let original: RgbImage
  const pool = openPixelPool(1)
  try {
    const view = { kind: 'transform', spec: transform.spec } as const
    const { data } = await onePicture(pool, await readImage(request.input), view)
    original = { data: data as Uint8Array, height, width }
  } catch (error) {
    if (!(error instanceof RejectError)) throw error
    throw new VtpError(`${request.input} cannot be decoded: ${error.message} (${error.code})`, { code: error.code })
  } finally {
    await pool.close()
  }
  const reconstructor = await openReconstructor(model, transform, { device: request.device, batchSize: 1 })
  const [reconstruction] = await reconstructor
    .reconstruct(original.data.slice(), 1)
    .finally(() => reconstructor.close())
  const name = path.basename(request.input).replace(IMAGE_EXTENSION, '.png')
  const isFile = request.grid !== undefined || /\.png$/i.test(request.out)
  const file = isFile ? request.out : path.join(request.out, name)
  if (path.resolve(file) === path.resolve(request.input)) {
    throw usageError('would_overwrite', `The reconstruction would overwrite ${request.input}`, ['choose another --out'])
  }
  await writePicture(file, request.sideBySide ? sideBySide([original, reconstruction!]) : reconstruction!)
  return { images: 1, out: file, interrupted: false }
}

/** Throws a usage error for latents that the model's decoder cannot take. */
function assertChannels(model: ImageModel, channels: number, file: string): void {
  const [wanted] = decoderOf(model).latentShape(model.imageSize)
  if (channels === wanted) return
  throw usageError('latent_channels', `${file} has latents of ${channels} channels; ${model.name} decodes ${wanted}`, [
    'give the model that made them with --model',
  ])
}

interface LatentBatch {
  /** Images before this batch. */
  first: number
  rows: { key: string }[]
  data: TensorData
}

async function decodeShards(
  model: ImageModel,
  request: DecodeRequest,
  sink: PictureSink,
): Promise<Omit<DecodeResult, 'seconds' | 'rejects' | 'rejectsByCode'>> {
  if (request.sideBySide) {
    throw usageError(
      'side_by_side_needs_image',
      '--side-by-side needs images as input; shards of latents hold no originals',
      ['run `vtp decode photo.jpg --out . --side-by-side`'],
    )
  }
  const files = await findShards(request.input)
  const decoders = new Map<string, ImageDecoder>()
  const { device } = request
  let images = 0
  try {
    for (const file of files) {
      const shard = await openShard(file)
      try {
        const column = shard.columns.find((c) => c.name === 'latents')
        if (!column) {
          throw usageError(
            'no_latents',
            `${file} has no column "latents" (it has ${shard.columns.map((c) => c.name).join(', ')})`,
            ['encode with --outputs latents'],
          )
        }
        const made = shard.provenance['vtp.model_digest']
        if (made && made !== model.digest && !request.anyModel) {
          throw usageError(
            'other_model',
            `${file} was made by the model ${shard.provenance['vtp.model']}, not by ${model.name}`,
            ['give that model with --model', 'pass --any-model to decode with this one all the same'],
          )
        }
        const [channels = 0, height = 0, width = 0] = column.shape
        const key = `${height}x${width}`
        let opened = decoders.get(key)
        if (!opened) {
          assertChannels(model, channels, file)
          opened = await openImageDecoder(model, 'pixels', {
            device,
            grid: { height, width },
            batchSize: request.batchSize,
            onNote: request.onNote,
          })
          decoders.set(key, opened)
        }
        const decoder = opened
        const rowSize = channels * height * width
        async function* batches() {
          for await (const { rows, tensors } of shard.read(['latents'], decoder.batchSize)) {
            const data = tensors.latents!
            const keep = Math.min(rows.length, (request.limit ?? Number.POSITIVE_INFINITY) - images)
            if (keep <= 0 || request.stop?.aborted) return
            yield { first: images, rows: rows.slice(0, keep), data: data.subarray(0, keep * rowSize) }
            images += keep
          }
        }
        const decodeBatch = async ({ first, rows, data }: LatentBatch): Promise<number> => {
          const floats = data instanceof Uint16Array ? float16ToFloat32(data) : Float32Array.from(data)
          const pngs = splitImages(await decoder.decode(floats, rows.length), decoder.size)
          await Promise.all(pngs.map((image, i) => sink.put(first + i, rows[i]!.key, image)))
          return rows.length
        }
        let done = images
        for await (const count of mapOrdered(batches(), runsInFlight(device) + 1, decodeBatch)) {
          done += count
          request.onProgress?.(done)
        }
      } finally {
        await shard.close()
      }
      if (request.stop?.aborted) break
    }
  } finally {
    await Promise.allSettled([...decoders.values()].map((decoder) => decoder.close()))
  }
  return { images, out: request.out, interrupted: request.stop?.aborted ?? false }
}
