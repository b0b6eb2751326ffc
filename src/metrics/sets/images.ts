/**
 * Sets of images as batches of pixels at their own size, in order: from any source, from shards with a
 * `pixels` column, or from `arr_0` of an .npz (ADM's sample batches). An image that cannot be read
 * is counted and told of; it never ends the set.
 */
import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../../errors.js'
import { decodeImage } from '../../image/decode.js'
import { openNpz } from '../../io/numpy/npz.js'
import { findShards, openShard } from '../../io/shards/index.js'
import { openSource } from '../../io/sources/index.js'
import { openStore, uriScheme } from '../../io/store.js'
import { mapOrdered } from '../../pipeline/stages.js'
import { type ListingEntry, type Reject, RejectError, type RgbImage } from '../../types.js'
import type { PixelBatch } from '../fid/collector.js'

export interface ImageSetOptions {
  batchSize: number
  /** At most this many images, from the start. */
  limit?: number
  maxPixels: number
  stop?: AbortSignal
  onReject?: (reject: Reject) => void
  stdin?: AsyncIterable<Uint8Array>
}

const AHEAD = 8

const isShard = (name: string): boolean =>
  /^(part-\d+\.(arrow|parquet)|latents_rank\d+_shard\d+\.safetensors)$/.test(name)

/** Whether a path is a shard, or a folder or prefix that holds shards. */
async function holdsShards(spec: string): Promise<boolean> {
  if (/\.(arrow|safetensors)$/i.test(spec)) return true
  if (uriScheme(spec) === 's3' && !/[*?{]|\.\w+$/.test(spec)) {
    const store = await openStore(spec)
    try {
      for (const prefix of ['part-', 'latents_rank'])
        for await (const name of store.names(prefix)) if (isShard(name)) return true
      return false
    } finally {
      await store.close()
    }
  }
  const info = await stat(spec).catch(() => undefined)
  if (!info?.isDirectory()) return false
  const names = await readdir(spec)
  return names.some(isShard)
}

/** Images of a set in order; consecutive images of one size share a batch. */
export async function* readImageSet(spec: string, options: ImageSetOptions): AsyncGenerator<PixelBatch> {
  const limit = options.limit ?? Number.POSITIVE_INFINITY
  const batches = /\.npz$/i.test(spec)
    ? npzBatches(spec, options)
    : (await holdsShards(spec))
      ? shardBatches(spec, options)
      : sourceBatches(spec, options)
  let done = 0
  for await (const batch of batches) {
    const count = Math.min(batch.count, limit - done)
    if (count <= 0 || options.stop?.aborted) return
    done += count
    yield count === batch.count
      ? batch
      : { ...batch, count, data: batch.data.subarray(0, count * batch.height * batch.width * 3) }
    if (done >= limit) return
  }
}

async function* npzBatches(file: string, { batchSize }: ImageSetOptions): AsyncGenerator<PixelBatch> {
  const npz = await openNpz(file)
  try {
    const array = npz.arrays.get('arr_0')
    if (array?.refused) throw array.refused
    const [, height = 0, width = 0, channels] = array?.shape ?? []
    if (array?.descr !== '|u1' || array.shape.length !== 4 || channels !== 3) {
      throw usageError('no_images', `${file} holds no images (arr_0 of uint8 [N, H, W, 3])`, [
        `it has ${[...npz.arrays.values()].map((a) => `${a.name} ${a.descr}[${a.shape}]`).join(', ')}`,
      ])
    }
    for await (const { count, bytes } of npz.streamRows('arr_0', batchSize)) yield { data: bytes, count, height, width }
  } finally {
    await npz.close()
  }
}

async function* shardBatches(input: string, { batchSize }: ImageSetOptions): AsyncGenerator<PixelBatch> {
  for (const file of await findShards(input)) {
    const shard = await openShard(file)
    try {
      const column = shard.columns.find((c) => c.name === 'pixels')
      if (!column) {
        throw usageError(
          'no_pixels',
          `${file} has no column "pixels" (it has ${shard.columns.map((c) => c.name).join(', ')})`,
          ['encode with --outputs pixels, or decode latents to images with `vtp decode` first'],
        )
      }
      const [height = 0, width = 0] = column.shape
      for await (const { rows, tensors } of shard.read(['pixels'], batchSize))
        yield { data: tensors.pixels as Uint8Array, count: rows.length, height, width }
    } finally {
      await shard.close()
    }
  }
}

async function* sourceBatches(spec: string, options: ImageSetOptions): AsyncGenerator<PixelBatch> {
  const source = await openSource(spec, { stdin: options.stdin })
  const limits = { maxPixels: options.maxPixels, timeoutMs: 60_000 }
  const read = async (entry: ListingEntry): Promise<RgbImage | undefined> => {
    const { key, uri } = entry
    if (entry.at.kind === 'bad') {
      options.onReject?.({ key, uri, stage: 'list', code: entry.at.code, message: entry.at.message })
      return undefined
    }
    try {
      return await decodeImage(await source.read(entry, options.stop), limits)
    } catch (error) {
      if (!(error instanceof RejectError)) throw error
      options.onReject?.({ key, uri, stage: error.stage, code: error.code, message: error.message })
      return undefined
    }
  }
  try {
    let held: RgbImage[] = []
    for await (const image of mapOrdered(source.list(options.stop), AHEAD, read)) {
      if (!image) continue
      const [first] = held
      if (
        first &&
        (first.width !== image.width || first.height !== image.height || held.length === options.batchSize)
      ) {
        yield join(held)
        held = []
      }
      held.push(image)
      // Not to read further than the limit needs.
      if (held.length === options.batchSize) {
        yield join(held)
        held = []
      }
    }
    if (held.length > 0) yield join(held)
  } finally {
    await source.close()
  }
}

function join(images: RgbImage[]): PixelBatch {
  const { width, height } = images[0]!
  const size = width * height * 3
  const data = new Uint8Array(images.length * size)
  for (const [i, image] of images.entries()) data.set(image.data, i * size)
  return { data, count: images.length, height, width }
}

/** What people call a set: the last part of its path. */
export function setName(spec: string): string {
  return path.basename(spec) || spec
}
