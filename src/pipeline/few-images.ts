/** A few images in memory, and all of them through an encoder or a decoder: for commands that look at a model. */
import { mapOrdered } from '../async/stages.js'
import type { ImageDecoder } from '../engine/image-decoder.js'
import type { ImageEncoder } from '../engine/image-encoder.js'
import { usageError } from '../errors.js'
import { openPixelPool } from '../image/pool/pool.js'
import { parseTransform } from '../image/transform.js'
import { type FieldNames, openSource } from '../io/sources/index.js'
import { joinFacts, type ListingFacts, listingLines } from '../io/sources/listing-report.js'
import { joinArrays } from '../math/join-arrays.js'
import type { Reject } from '../types.js'
import { countReject, type RejectCounts, sumCounts } from './ledger/rejects.js'
import { readEntryPixels } from './stream/entry-pixels.js'

/** uint8 [count, height, width, 3], 0…255. */
export interface FewImages {
  data: Uint8Array
  count: number
  height: number
  width: number
}

/** float32 [images, …] by the names of the outputs. */
export type Outputs = Record<string, Float32Array>

export interface FewImagesRequest {
  /** Any SOURCE. */
  source: string
  /** For SOURCE `-`. */
  stdin?: AsyncIterable<Uint8Array>
  /** Columns or fields of the source, where they do not have the usual names. */
  fields?: FieldNames
  /** The first so many that can be read. */
  limit: number
  /** Threads that decode. */
  cores: number
  stop?: AbortSignal
  onNote?: (line: string) => void
  onReject?: (reject: Reject) => void
}

/** What was found besides images, as `--json` shows it. */
export interface FoundBesides extends ListingFacts {
  rejects: number
  rejectsByCode: RejectCounts
}

/** The first images of a source by a canonical transform. Throws usage error `no_images` when none can be read. */
export async function readFewImages(
  request: FewImagesRequest,
  spec: string,
): Promise<{ pixels: FewImages; besides: FoundBesides }> {
  const { limit, stop, onNote, onReject } = request
  const source = await openSource(request.source, { fields: request.fields, stdin: request.stdin })
  const pool = openPixelPool(request.cores)
  const images: Uint8Array[] = []
  const rejectsByCode: RejectCounts = {}
  try {
    const read = mapOrdered(source.list(stop), pool.capacity, (entry) =>
      readEntryPixels(source, pool, entry, { views: [{ kind: 'transform', spec }], stop }),
    )
    for await (const one of read) {
      if (images.length === limit) break
      if ('reject' in one) {
        countReject(rejectsByCode, one.reject)
        onReject?.(one.reject)
      } else images.push(one.pictures[0]!.data as Uint8Array)
    }
  } finally {
    await Promise.allSettled([source.close(), pool.close()])
  }
  const besides = { rejects: sumCounts(rejectsByCode), rejectsByCode, ...joinFacts([source]) }
  if (images.length === 0)
    throw usageError('no_images', `No image of ${source.uri} can be used (${besides.rejects} cannot be decoded)`, [
      'give a folder, a list, tar shards or Parquet files with images',
    ])
  if (onNote) listingLines(besides).forEach(onNote)
  const { height, width } = parseTransform(spec)
  return { pixels: { data: joinArrays(images, Uint8Array), count: images.length, height, width }, besides }
}

/** All outputs of all images. Rejects with the reason when stopped. */
export async function encodeFewImages(
  encoder: ImageEncoder,
  { data, count }: FewImages,
  stop?: AbortSignal,
): Promise<Outputs> {
  const row = data.length / count
  const encode = (start: number, rows: number) =>
    encoder.encode(data.slice(start * row, (start + rows) * row), rows).then(({ tensors }) => tensors)
  const batches = await inBatches(encoder, count, encode, stop)
  const names = Object.keys(batches[0]!)
  return Object.fromEntries(
    names.map((name) => [
      name,
      joinArrays(
        batches.map((tensors) => tensors[name]!),
        Float32Array,
      ),
    ]),
  )
}

/** float32 [count, …] → uint8 [count, H, W, 3]. Rejects with the reason when stopped. */
export async function decodeFewImages(
  decoder: ImageDecoder,
  latents: Float32Array,
  count: number,
  stop?: AbortSignal,
): Promise<Uint8Array> {
  const row = latents.length / count
  const decode = (start: number, rows: number) => decoder.decode(latents.slice(start * row, (start + rows) * row), rows)
  return joinArrays(await inBatches(decoder, count, decode, stop), Uint8Array)
}

async function inBatches<T>(
  { batchSize, device }: Pick<ImageEncoder, 'batchSize' | 'device'>,
  count: number,
  run: (start: number, rows: number) => Promise<T>,
  stop?: AbortSignal,
): Promise<T[]> {
  const starts = Array.from({ length: Math.ceil(count / batchSize) }, (_, i) => i * batchSize)
  const made: T[] = []
  const runs = mapOrdered(starts, device.lanes.length, (start) => run(start, Math.min(batchSize, count - start)))
  for await (const one of runs) {
    stop?.throwIfAborted()
    made.push(one)
  }
  return made
}
