/**
 * Images → what the model makes of them: encoded and decoded at once, one picture per image. Any source of images will
 * do, stored pixels too; what cannot be read is a reject.
 */
import { mapOrdered } from '../async/stages.js'
import { type Device, runsInFlight } from '../engine/device.js'
import { openImageDecoder } from '../engine/image-decoder.js'
import { openImageEncoder } from '../engine/image-encoder.js'
import { usageError } from '../errors.js'
import { sideBySide } from '../image/montage.js'
import { openPixelPool } from '../image/pool/pool.js'
import type { Transform } from '../image/transform.js'
import { openSource } from '../io/sources/index.js'
import { joinFacts, listingLines } from '../io/sources/listing-report.js'
import type { ImageModel, ImageSize } from '../model/index.js'
import type { ListingEntry, Reject, RgbImage } from '../types.js'
import { countReject, type RejectCounts, sumCounts } from './ledger/rejects.js'
import { readEntryPixels } from './stream/entry-pixels.js'

export interface Reconstructor {
  readonly batchSize: number
  /** uint8 [count, H, W, 3], which is transferred away → as many images. */
  reconstruct(pixels: Uint8Array, count: number): Promise<RgbImage[]>
  close(): Promise<void>
}

export interface ReconstructorOptions {
  device: Device
  batchSize?: number
  onNote?: (line: string) => void
}

/** Opens a model's encoder and decoder for images of one size. */
export async function openReconstructor(
  model: ImageModel,
  size: ImageSize,
  options: ReconstructorOptions,
): Promise<Reconstructor> {
  const encoder = await openImageEncoder(model, { ...options, size, outputs: ['latents'] })
  try {
    const [, height = 0, width = 0] = encoder.shapes.get('latents')!
    const decoder = await openImageDecoder(model, 'pixels', { ...options, grid: { height, width } })
    return {
      batchSize: Math.min(encoder.batchSize, decoder.batchSize),
      async reconstruct(pixels, count) {
        const { latents } = (await encoder.encode(pixels, count)).tensors
        return splitImages(await decoder.decode(latents as Float32Array, count), decoder.size)
      },
      async close() {
        await Promise.allSettled([encoder.close(), decoder.close()])
      },
    }
  } catch (error) {
    await encoder.close()
    throw error
  }
}

/** uint8 [N,H,W,3] → N images. */
export function splitImages(data: Uint8Array, { height, width }: ImageSize): RgbImage[] {
  const bytes = height * width * 3
  return Array.from({ length: data.length / bytes }, (_, i) => ({
    data: data.subarray(i * bytes, (i + 1) * bytes),
    height,
    width,
  }))
}

export interface DecodeImagesRequest extends ReconstructorOptions {
  /** Any SOURCE. */
  input: string
  /** Where the pictures go, for the result. */
  out: string
  transform: Transform
  sideBySide: boolean
  limit?: number
  stdin?: AsyncIterable<Uint8Array>
  stop?: AbortSignal
  onReject?: (reject: Reject) => void
  onProgress?: (done: number) => void
  /** Takes what was made of the image of this key, the `index`th that could be read. */
  put(index: number, key: string, image: RgbImage): Promise<void>
}

interface Loaded {
  index: number
  entry: ListingEntry
  data: Uint8Array
}

/** Reconstructs the images of a source. Throws usage error `no_images` where there are none. */
export async function decodeImages(model: ImageModel, request: DecodeImagesRequest) {
  const { transform, out, stop } = request
  const source = await openSource(request.input, { stdin: request.stdin, limit: request.limit })
  const pool = openPixelPool(request.device.cores)
  let opened: Reconstructor | undefined
  const { height, width } = transform
  const bytes = height * width * 3
  const views = [{ kind: 'transform', spec: transform.spec } as const]
  let [loaded, images] = [0, 0]
  const rejectsByCode: RejectCounts = {}
  async function* batches(size: number) {
    let held: Loaded[] = []
    const read = mapOrdered(source.list(stop), Math.max(pool.capacity, size), async (entry) => ({
      entry,
      result: await readEntryPixels(source, pool, entry, { views, stop }),
    }))
    for await (const { entry, result } of read) {
      if (stop?.aborted) return
      if ('reject' in result) {
        countReject(rejectsByCode, result.reject)
        request.onReject?.(result.reject)
        continue
      }
      held.push({ index: loaded++, entry, data: result.pictures[0]!.data as Uint8Array })
      if (held.length < size) continue
      yield held
      held = []
    }
    if (held.length > 0) yield held
  }
  const finishBatch = async (reconstructor: Reconstructor, held: Loaded[]): Promise<number> => {
    const pixels = new Uint8Array(held.length * bytes)
    for (const [i, { data }] of held.entries()) pixels.set(data, i * bytes)
    const made = await reconstructor.reconstruct(pixels, held.length)
    await Promise.all(
      made.map((reconstruction, i) => {
        const { index, entry, data } = held[i]!
        const shown = request.sideBySide ? sideBySide([{ data, height, width }, reconstruction]) : reconstruction
        return request.put(index, entry.key, shown)
      }),
    )
    return held.length
  }
  try {
    const reconstructor = await openReconstructor(model, transform, request)
    opened = reconstructor
    const made = mapOrdered(batches(reconstructor.batchSize), runsInFlight(request.device), (held) =>
      finishBatch(reconstructor, held),
    )
    for await (const count of made) {
      images += count
      request.onProgress?.(images + sumCounts(rejectsByCode))
    }
  } catch (error) {
    if (!stop?.aborted) throw error
  } finally {
    await Promise.allSettled([source.close(), pool.close(), opened?.close()])
  }
  for (const line of listingLines(source)) request.onNote?.(line)
  if (images + sumCounts(rejectsByCode) === 0 && !stop?.aborted)
    throw usageError('no_images', `${source.uri} does not hold images or latents`, ['check the path'])
  const interrupted = stop?.aborted ?? false
  return { images, rejects: sumCounts(rejectsByCode), rejectsByCode, facts: joinFacts([source]), out, interrupted }
}
