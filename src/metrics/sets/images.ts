/**
 * Sets of images as batches of pixels at their own size, in order, from any place on: from any source, from
 * shards with a `pixels` column, or from `arr_0` of an .npz (ADM's sample batches). An image that cannot be
 * read is counted and told of; it never ends the set.
 */
import { readdir, stat } from 'node:fs/promises'
import { mapOrdered } from '../../async/stages.js'
import { usageError } from '../../errors.js'
import { decodeImage } from '../../image/decode.js'
import { openNpz } from '../../io/numpy/npz.js'
import { findShards, openShard } from '../../io/shards/index.js'
import { openStore, uriScheme } from '../../io/store.js'
import { type ListingEntry, type Reject, RejectError, type RgbImage, type Source } from '../../types.js'
import type { PixelBatch } from '../fid/collector.js'
import { storeListing } from '../pass/listing.js'
import { stampFiles } from '../pass/stamp.js'

export interface ImageSetOptions {
  batchSize: number
  /** At most this many images, from the start. */
  limit?: number
  maxPixels: number
  /** Ends the listing. */
  signal?: AbortSignal
  stdin?: AsyncIterable<Uint8Array>
}

/** Images of one size, none where only rejects are told of. */
export interface ImageBatch extends PixelBatch {
  /** How much of the set is dealt with when this batch is. */
  done: number
  rejects: Reject[]
}

export interface ImageSet {
  /** Images, readable or not, at most `limit`; null where only reading tells. */
  readonly total: number | null
  /** Changes with the names and their order, and with the files behind them. */
  readonly stamp: string
  /** Batches from a batch's `done` on; 0 is the start. */
  batches(from: number): AsyncGenerator<ImageBatch>
  close(): Promise<void>
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

/** Opens what the user calls a set. Throws usage errors for what holds no images. */
export async function openImageSet(spec: string, options: ImageSetOptions): Promise<ImageSet> {
  if (/\.npz$/i.test(spec)) return openNpzSet(spec, options)
  if (await holdsShards(spec)) return openShardSet(spec, options)
  return openSourceSet(spec, options)
}

async function openNpzSet(file: string, options: ImageSetOptions): Promise<ImageSet> {
  const npz = await openNpz(file)
  const array = npz.arrays.get('arr_0')
  const [count = 0, height = 0, width = 0, channels] = array?.shape ?? []
  if (array?.refused || array?.descr !== '|u1' || array.shape.length !== 4 || channels !== 3) {
    await npz.close()
    if (array?.refused) throw array.refused
    throw usageError('no_images', `${file} holds no images (arr_0 of uint8 [N, H, W, 3])`, [
      `it has ${[...npz.arrays.values()].map((a) => `${a.name} ${a.descr}[${a.shape}]`).join(', ')}`,
    ])
  }
  const total = Math.min(count, options.limit ?? count)
  async function* batches(): AsyncGenerator<PixelBatch> {
    for await (const { count, bytes } of npz.streamRows('arr_0', options.batchSize))
      yield { data: bytes, count, height, width }
  }
  return {
    total,
    stamp: await stampFiles([file]),
    batches: (from) => cutRows(batches(), from, total),
    close: () => npz.close(),
  }
}

async function openShardSet(input: string, options: ImageSetOptions): Promise<ImageSet> {
  const files = await findShards(input)
  async function* batches(): AsyncGenerator<PixelBatch> {
    for (const file of files) {
      const shard = await openShard(file)
      try {
        const column = shard.columns.find(({ name }) => name === 'pixels')
        if (!column) {
          throw usageError(
            'no_pixels',
            `${file} has no column "pixels" (it has ${shard.columns.map(({ name }) => name).join(', ')})`,
            ['encode with --outputs pixels, or decode latents to images with `vtp decode` first'],
          )
        }
        const [height = 0, width = 0] = column.shape
        for await (const { rows, tensors } of shard.read(['pixels'], options.batchSize))
          yield { data: tensors.pixels as Uint8Array, count: rows.length, height, width }
      } finally {
        await shard.close()
      }
    }
  }
  return {
    total: null,
    stamp: await stampFiles(files),
    batches: (from) => cutRows(batches(), from, options.limit ?? Number.POSITIVE_INFINITY),
    close: async () => {},
  }
}

/** The rows from number `from` to before `to`. Those before are read and dropped: that is fast beside a network. */
async function* cutRows(batches: AsyncIterable<PixelBatch>, from: number, to: number): AsyncGenerator<ImageBatch> {
  let at = 0
  for await (const { data, count, height, width } of batches) {
    const [start, end] = [Math.max(from - at, 0), Math.min(to - at, count)]
    at += count
    const rowBytes = height * width * 3
    if (start < end) {
      const part = data.subarray(start * rowBytes, end * rowBytes)
      yield { data: part, count: end - start, height, width, done: Math.min(at, to), rejects: [] }
    }
    if (at >= to) return
  }
}

async function openSourceSet(spec: string, options: ImageSetOptions): Promise<ImageSet> {
  const listing = await storeListing(spec, options)
  const { total, source, entries, stampDigest, close } = listing
  return {
    total,
    stamp: await stampDigest(),
    batches: (from) => joinBySize(readImages(source, entries(from), options), from, options.batchSize),
    close,
  }
}

type ReadImage = { image: RgbImage } | { reject: Reject }

function readImages(
  source: Source,
  entries: AsyncIterable<ListingEntry>,
  options: ImageSetOptions,
): AsyncGenerator<ReadImage> {
  const limits = { maxPixels: options.maxPixels, timeoutMs: 60_000 }
  return mapOrdered(entries, AHEAD, async (entry) => {
    const { key, uri, at } = entry
    if (at.kind === 'bad') return { reject: { key, uri, stage: 'list', code: at.code, message: at.message } }
    try {
      return { image: await decodeImage(await source.read(entry), limits) }
    } catch (error) {
      if (!(error instanceof RejectError)) throw error
      return { reject: { key, uri, stage: error.stage, code: error.code, message: error.message } }
    }
  })
}

/** Consecutive images of one size share a batch; rejects go with the images before them. */
async function* joinBySize(
  images: AsyncIterable<ReadImage>,
  from: number,
  batchSize: number,
): AsyncGenerator<ImageBatch> {
  let held: RgbImage[] = []
  let rejects: Reject[] = []
  let done = from
  const take = (): ImageBatch => {
    const batch = { ...join(held), done, rejects }
    held = []
    rejects = []
    return batch
  }
  for await (const read of images) {
    const [first] = held
    if ('image' in read) {
      const { width, height } = read.image
      if (first && (first.width !== width || first.height !== height || held.length === batchSize)) yield take()
      held.push(read.image)
    } else {
      rejects.push(read.reject)
    }
    done++
  }
  if (held.length > 0 || rejects.length > 0) yield take()
}

function join(images: RgbImage[]): PixelBatch {
  const { width, height } = images[0] ?? { width: 0, height: 0 }
  const size = width * height * 3
  const data = new Uint8Array(images.length * size)
  for (const [i, image] of images.entries()) data.set(image.data, i * size)
  return { data, count: images.length, height, width }
}
