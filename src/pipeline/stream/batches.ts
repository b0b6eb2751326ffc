/**
 * The middle of the pipeline: listing entries → batches of source bytes → of pixels → of rows. A batch is a fixed
 * number of consecutive entries of one unit, so its composition never depends on timing; rejected images
 * leave no gap in it. Pixels lie in shared memory that is reused from batch to batch.
 */

import { createByteLimiter } from '../../async/byte-limit.js'
import type { Limiter } from '../../async/stages.js'
import type { ImageEncoder } from '../../engine/image-encoder.js'
import type { TextEncoder } from '../../engine/text-encoder.js'
import { VtpError } from '../../errors.js'
import type { DecodeLimits } from '../../image/decode-limits.js'
import type { PixelPool } from '../../image/pool/pool.js'
import type { View } from '../../image/pool/views.js'
import { emptyTensor } from '../../io/shards/rebatch.js'
import { sourceBytes } from '../../io/sources/read-file.js'
import {
  type ListingEntry,
  type Reject,
  RejectError,
  type RowBatch,
  type RowMeta,
  type Source,
  type TensorColumn,
} from '../../types.js'
import type { PlacedReject } from '../ledger/rejects.js'
import type { BatchJob, EncodedBatch, FetchedBatch, PixelBuffer, PreparedBatch } from './batch.js'
import { rejectOf } from './entry-pixels.js'
import type { Meter } from './meter.js'
import { sampleBatch } from './sample-latents.js'
import { CAPTION_COLUMN, embedCaptions } from './texts.js'

/** Hands out pixel buffers and takes them back; as many exist as are in use at once. `take` throws `batch_too_large`. */
export function createPixelBuffers(capacity: number, imageBytes: number, flip: boolean) {
  const free: PixelBuffer[] = []
  const bytes = capacity * imageBytes * (flip ? 2 : 1)
  const allocate = (): SharedArrayBuffer => {
    try {
      return new SharedArrayBuffer(bytes)
    } catch (cause) {
      const message = `The pixels of a batch of ${capacity} images are ${Math.ceil(bytes / 1e9)} GB, more than there is room for`
      throw new VtpError(message, { code: 'batch_too_large', suggestions: ['use a smaller --batch-size'], cause })
    }
  }
  return {
    take: (): PixelBuffer => free.pop() ?? { memory: allocate(), capacity, imageBytes },
    give: (buffer: PixelBuffer): void => void free.push(buffer),
  }
}
/** What is wanted of every image of a run. */
export function runViews(spec: string, flip: boolean): View[] {
  const views: View[] = [{ kind: 'transform', spec }]
  if (flip) views.push({ kind: 'transform', spec, mirrored: true })
  return views
}

export type PixelBuffers = ReturnType<typeof createPixelBuffers>

/** Refusals of object storage that may be those of one object, or of all. */
const REFUSALS = ['s3_access_denied', 's3_no_bucket', 's3_wrong_region']
/** So many images that are all refused are no accident. */
const FEWEST_REFUSED = 4

/** Source bytes that a batch holds, at most; an image for which that leaves no room is read late. */
const BATCH_BYTES = 64 * 2 ** 20
/** Source bytes of late images that are held at once, in this process. */
const readLate = createByteLimiter(256 * 2 ** 20)

export interface FetchContext {
  source: Source
  meter: Meter
  /** Throw where a whole batch is refused for one reason of its storage: that is no fault of its images. */
  stopWhenRefused?: boolean
  /** Ends the reads; `fetchBatch` throws the signal's reason then. */
  stop?: AbortSignal
}

/** Reads the images of a batch, all at once as far as it may hold them. Never throws for a single image. */
export async function fetchBatch(
  batch: BatchJob,
  { source, meter, stopWhenRefused, stop }: FetchContext,
): Promise<FetchedBatch> {
  const refusals: VtpError[] = []
  const fetchImage = async (entry: ListingEntry): Promise<Uint8Array | Reject> => {
    stop?.throwIfAborted()
    const { key, uri } = entry
    if (entry.at.kind === 'bad') return { key, uri, stage: 'list', code: entry.at.code, message: entry.at.message }
    try {
      const bytes = await meter.clocks.read.time(() => source.read(entry, stop))
      meter.bytesRead += bytes.byteLength
      return bytes
    } catch (error) {
      stop?.throwIfAborted() // what fails while it is ended is no fault of the image
      if (!(error instanceof RejectError)) throw error
      if (error.cause instanceof VtpError && REFUSALS.includes(error.cause.code)) refusals.push(error.cause)
      return rejectOf(entry, error)
    }
  }
  // All of them end before the first error is told: no read outlives its batch.
  const sizes = await Promise.all(batch.entries.map(({ at }) => sourceBytes(at)))
  let held = 0
  const results = await Promise.allSettled(
    batch.entries.map(async (entry, i): Promise<FetchedBatch['sources'][number]> => {
      const bytes = sizes[i] ?? 0
      if (held + bytes > BATCH_BYTES) return { bytes, read: () => fetchImage(entry) }
      held += bytes
      return fetchImage(entry)
    }),
  )
  const sources = results.map((result) => {
    if (result.status === 'rejected') throw result.reason
    return result.value
  })
  if (stopWhenRefused && refusals.length >= FEWEST_REFUSED && refusals.length === batch.entries.length)
    throw refusals[0]!
  return { ...batch, sources }
}

/** Bytes that a batch is going to hold, where the listing tells; undefined otherwise. */
export function listedBytes({ entries }: BatchJob): number | undefined {
  let sum = 0
  for (const { at } of entries) {
    if (!('size' in at) || at.size === undefined || at.kind === 'line') return undefined
    sum += at.size
  }
  return Math.min(sum, BATCH_BYTES)
}

/** Bytes that a fetched batch holds. */
export function fetchedBytes({ sources }: FetchedBatch): number {
  return sources.reduce((sum, source) => sum + (source instanceof Uint8Array ? source.byteLength : 0), 0)
}

export interface PrepareContext {
  /** As many at once as the pool works on: images that wait in line are no work. */
  limit: Limiter
  pool(isolated: boolean): PixelPool
  /** The image, and where the buffers have room for it the mirrored one. */
  views: readonly View[]
  limits: DecodeLimits
  buffers: PixelBuffers
  meter: Meter
  /** Leaves out what is not begun yet; `prepareBatch` throws the signal's reason then. */
  stop?: AbortSignal
}

/** Preprocesses the images of a batch. Never throws for a single image. */
export async function prepareBatch(fetched: FetchedBatch, context: PrepareContext): Promise<PreparedBatch> {
  const { sources, ...batch } = fetched
  const { limit, buffers, meter, stop, views, limits } = context
  const pixels = buffers.take()
  const { imageBytes, capacity } = pixels
  const pool = context.pool(batch.job.isolated)
  const prepareImage = async (entry: ListingEntry, slot: number): Promise<RowMeta | Reject> => {
    const source = sources[slot]!
    if ('read' in source) return readLate(source.bytes, async () => prepareBytes(entry, slot, await source.read()))
    return prepareBytes(entry, slot, source)
  }
  const prepareBytes = async (
    entry: ListingEntry,
    slot: number,
    bytes: Uint8Array | Reject,
  ): Promise<RowMeta | Reject> => {
    const { key, uri } = entry
    if (!(bytes instanceof Uint8Array)) return bytes
    try {
      const place = {
        target: pixels.memory,
        offsets: [slot * imageBytes, (capacity + slot) * imageBytes].slice(0, views.length),
      }
      const result = await limit(async () => {
        stop?.throwIfAborted()
        return meter.clocks.preprocess.time(() => pool.run({ bytes, views, limits, place }))
      })
      if ('reject' in result) return { key, uri, ...result.reject }
      const { width, height, sha256 } = result
      const { label = null, caption = null, metadata = null } = entry
      return { key, uri, label, caption, metadata, width, height, sha256 }
    } catch (error) {
      return rejectOf(entry, error)
    }
  }
  // All of them end before the first error is told: the buffer may be given back then.
  const settled = await Promise.allSettled(batch.entries.map(prepareImage))
  const results = settled.map((result) => {
    if (result.status === 'rejected') throw result.reason
    return result.value
  })

  const rows: RowMeta[] = []
  const positions: number[] = []
  const rejects: PlacedReject[] = []
  const all = new Uint8Array(pixels.memory)
  results.forEach((result, slot) => {
    const position = batch.start + slot
    if ('code' in result) {
      rejects.push({ position, reject: result })
      return
    }
    const to = rows.length
    if (to !== slot) {
      all.copyWithin(to * imageBytes, slot * imageBytes, (slot + 1) * imageBytes)
      const mirrored = capacity + slot
      if (all.length > mirrored * imageBytes) {
        all.copyWithin((capacity + to) * imageBytes, mirrored * imageBytes, (mirrored + 1) * imageBytes)
      }
    }
    rows.push(result)
    positions.push(position)
  })
  return { ...batch, rows, positions, rejects, pixels }
}

export interface EncodeContext {
  /** Undefined when no output needs the model. */
  encoder: ImageEncoder | undefined
  /** Embeds captions, where the plan asks for it. */
  texts?: TextEncoder
  columns: TensorColumn[]
  flip: boolean
  /** Draw the latents of the model's distribution with this seed. */
  sampleSeed?: number
  buffers: PixelBuffers
  meter: Meter
}

/** One pass of the model over a batch (two with `flip`): all outputs at once. */
export async function encodeBatch(prepared: PreparedBatch, context: EncodeContext): Promise<EncodedBatch> {
  const { encoder, texts, flip, buffers, meter } = context
  const columns = context.columns.filter((c) => c.name !== CAPTION_COLUMN)
  const captions = context.columns.find((c) => c.name === CAPTION_COLUMN)
  const { pixels, ...rest } = prepared
  const count = prepared.rows.length
  const tensors: RowBatch['tensors'] = {}
  const encodeAt = async (slot: number, suffix: string): Promise<void> => {
    const view = new Uint8Array(pixels.memory, slot * pixels.imageBytes, count * pixels.imageBytes)
    const wanted = columns.filter((c) => c.name.endsWith('_flip') === (suffix !== ''))
    const base = (name: string): string => name.slice(0, name.length - suffix.length)
    const fetches = wanted.map((c) => base(c.name)).filter((name) => name !== 'pixels')
    if (encoder && fetches.length > 0) {
      const { sampleSeed: seed } = context
      const asked = seed === undefined ? fetches : [...fetches, 'logvar']
      const encoded = await meter.clocks.encode.time(() => encoder.encode(view, count, asked))
      for (const name of fetches) tensors[name + suffix] = encoded.tensors[name]!
      if (seed !== undefined) {
        const column = wanted.find((c) => c.name === `latents${suffix}`)!
        const posterior = { mean: encoded.tensors.latents!, logvar: encoded.tensors.logvar! }
        const keys = prepared.rows.map(({ key }) => key)
        tensors[column.name] = sampleBatch(posterior, keys, { seed, column, mirrored: suffix !== '' })
      }
    }
    if (fetches.length < wanted.length) tensors[`pixels${suffix}`] = view.slice()
  }
  if (count > 0) {
    const passes = [encodeAt(0, '')]
    if (flip) passes.push(encodeAt(pixels.capacity, '_flip'))
    await Promise.all(passes)
  } else {
    for (const column of columns) tensors[column.name] = emptyTensor(column, 0)
  }
  if (captions && texts)
    tensors[captions.name] = await meter.clocks.encode.time(() => embedCaptions(prepared.rows, texts, captions))
  buffers.give(pixels)
  return { ...rest, batch: { rows: prepared.rows, tensors } }
}
