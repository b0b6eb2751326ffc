/**
 * Pairs of latents and pixels: every row of the shards with the image of SOURCE that it was computed from. The pixels
 * are made anew by the shards' own transform, from bytes whose SHA-256 is that of the row; so they are those that the
 * latents were computed from. Rows and images are matched by key, in the order that both have.
 */
import { createLimiter } from '../../async/stages.js'
import { usageError, VtpError } from '../../errors.js'
import { openPixelPool, type PixelPool } from '../../image/pool/pool.js'
import { openShard } from '../../io/shards/index.js'
import type { FieldNames } from '../../io/sources/options.js'
import { IMAGE_TIMEOUT_MS } from '../../metrics/pass/image-set.js'
import { type ListingIndex, openListingIndex } from '../../metrics/probe/listing-index.js'
import { readEntryPixels } from '../../pipeline/stream/entry-pixels.js'
import { createDraws } from '../../train/draws.js'
import { type LatentRows, openLatentRows } from '../../train/rows.js'
import type { GanBatch } from '../gan.js'

export interface PairOptions {
  source: string
  /** Shards. */
  latents: string
  /** Where copies of rows go that cannot be read in place. */
  copies: string
  /** The canonical spec that the images went through. */
  transform: string
  batch: number
  /** Whether half of the samples are mirrored. */
  flip: boolean
  seed: number
  workers: number
  maxPixels: number
  limit?: number
  fields?: FieldNames
  stop?: AbortSignal
  onNote?: (line: string) => void
}

export interface Pairs {
  readonly rows: LatentRows
  /** SHA-256 (hex) of the latents' set. */
  readonly digest: string
  /** Name of the set. */
  readonly uri: string
  /** The batch of a step, from 1: a function of seed and step. Throws VtpErrors `image_unreadable`, `image_changed`. */
  read(step: number): Promise<GanBatch>
  /** uint8 [H, W, 3] of a row's image. Throws as `read`. */
  pixels(row: number, mirrored: boolean): Promise<Uint8Array>
  close(): Promise<void>
}

/** Opens shards and source. Throws usage errors `image_missing`, `no_flips` and those of both. */
export async function openPairs(options: PairOptions): Promise<Pairs> {
  const { latents, copies, source, batch, flip, seed, limit, fields, stop, onNote } = options
  const rows = await openLatentRows(latents, { folder: copies, stop, onNote })
  const closers: (() => Promise<unknown>)[] = [() => rows.close()]
  try {
    if (flip && !rows.hasFlips)
      throw usageError('no_flips', `${latents} has no latents of the mirrored images`, [
        'encode with --flip, or set config.flip to false',
      ])
    if (rows.rows < batch)
      throw usageError('too_few_images', `${source} gives ${rows.rows} rows; a batch has ${batch}`, [
        'give smaller batches: --set config.batch=4',
      ])
    const index = await openListingIndex(source, { limit, fields, signal: stop, onNote, unlabelled: true })
    closers.push(() => index.close())
    const matched = await matchRows(rows, index, { source, latents })
    const pool = openPixelPool(options.workers)
    closers.push(() => pool.close())
    const pixels = pixelReader(matched, { rows, index, pool, options })
    const limiter = createLimiter(pool.capacity)
    const draws = createDraws({ seed, rows: rows.rows, ...NO_DIFFUSION })
    const size = rows.shape.reduce((a, b) => a * b, 1)
    return {
      ...{ rows, digest: rows.digest, uri: index.source.uri, pixels },
      async read(step) {
        const values = new Float32Array(batch * size)
        const pictures = await Promise.all(
          Array.from({ length: batch }, (_, i) =>
            limiter(async () => {
              const sample = (step - 1) * batch + i
              const row = draws.row(sample)
              const mirrored = flip && draws.flipped(sample)
              values.set(await rows.read(row, mirrored), i * size)
              return pixels(row, mirrored)
            }),
          ),
        )
        const target = new Uint8Array(batch * pictures[0]!.length)
        for (const [i, picture] of pictures.entries()) target.set(picture, i * picture.length)
        return { latents: values, target }
      },
      close: async () => void (await Promise.allSettled(closers.map((close) => close()))),
    }
  } catch (error) {
    await Promise.allSettled(closers.map((close) => close()))
    throw error
  }
}

/** What the draws of a diffusion training need besides rows and flips. */
const NO_DIFFUSION = { time: { interval: [0, 1] as [number, number] }, labelDropout: 0, nullClass: 0 }
const SHA256_BYTES = 32
const META_ROWS = 65_536

interface Matched {
  /** Entry of the listing by row. */
  entries: Int32Array
  /** Of the images' bytes, one after the other. */
  sums: Uint8Array
}

/** The entry of every row, in one walk along both. Throws usage error `image_missing`. */
async function matchRows(
  rows: LatentRows,
  index: ListingIndex,
  { source, latents }: { source: string; latents: string },
): Promise<Matched> {
  const entries = new Int32Array(rows.rows)
  const sums = new Uint8Array(rows.rows * SHA256_BYTES)
  const listed = index.entries()
  let [row, entry] = [0, -1]
  for (const file of rows.files) {
    const shard = await openShard(file)
    try {
      for await (const { rows: metas } of shard.read([], META_ROWS))
        for (const { key, sha256 } of metas) {
          for (;;) {
            const next = await listed.next()
            entry++
            if (next.done)
              throw usageError('image_missing', `Row ${row} of ${latents} is ${key}, which ${source} does not list`, [
                'give the SOURCE that the latents were computed from, in the same order',
                'or leave --latents out: the images are then encoded here',
              ])
            if (next.value.key === key) break
          }
          entries[row] = entry
          sums.set(sha256, row * SHA256_BYTES)
          row++
        }
    } finally {
      await shard.close()
    }
  }
  return { entries, sums }
}

function pixelReader(
  { entries, sums }: Matched,
  { rows, index, pool, options }: { rows: LatentRows; index: ListingIndex; pool: PixelPool; options: PairOptions },
): Pairs['pixels'] {
  const { transform: spec, maxPixels, stop } = options
  const limits = { maxPixels, timeoutMs: IMAGE_TIMEOUT_MS }
  return async (row, mirrored) => {
    const entry = await index.entry(entries[row]!)
    const views = [{ kind: 'transform' as const, spec, mirrored }]
    const result = await readEntryPixels(index.source, pool, entry, { views, limits, stop })
    const gone = (code: string, what: string): VtpError =>
      new VtpError(`${entry.uri} (${entry.key}, row ${row} of ${rows.rows}) ${what}`, {
        code,
        suggestions: ['put the image back as it was, and run the same command again', 'or begin anew with --overwrite'],
      })
    if ('reject' in result) throw gone('image_unreadable', `cannot be read any more: ${result.reject.message}`)
    const expected = sums.subarray(row * SHA256_BYTES, (row + 1) * SHA256_BYTES)
    if (Buffer.compare(result.sha256, expected) !== 0)
      throw gone('image_changed', 'is not the image that its latents were computed from')
    return result.pictures[0]!.data as Uint8Array
  }
}
