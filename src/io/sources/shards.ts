/**
 * Shards of ours with the output `pixels` as a source: preprocessed images that need no decoding any more.
 * Rows keep key, uri, label and caption of the images that they were made of, and the order of the shards.
 * Pixels are read one record batch (Arrow) or row group (Parquet) at a time, the last few being kept.
 */
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { parquetMetadataAsync } from 'hyparquet'
import { errorText, usageError, VtpError } from '../../errors.js'
import { packRawRgb } from '../../image/raw-rgb.js'
import { RejectError, type RowBatch, type Source } from '../../types.js'
import { openStore } from '../open-store.js'
import { openRangeReader } from '../range-reader.js'
import { findShards, openShard } from '../shards/read.js'
import type { Shard } from '../shards/types.js'
import { uriScheme } from '../store.js'
import type { SourceOptions } from './options.js'
import { hubFeatures } from './table.js'

const CACHED_GROUPS = 2
const OPEN_SHARDS = 2
const COLUMN = 'pixels'

const isShardName = (name: string): boolean =>
  /^(part-\d+\.(arrow|parquet)|latents_rank\d+_shard\d+\.safetensors)$/.test(name)

/**
 * Whether a folder or a prefix of a bucket is the output of a run of `vtp encode`, or holds shards with pixels; a
 * folder of images otherwise. A run of `vtp generate` holds images.
 */
export async function isRunFolder(folder: string): Promise<boolean> {
  const remote = uriScheme(folder) !== undefined
  if (!remote) {
    const plan = await readFile(path.join(folder, PLAN), 'utf8').catch(() => undefined)
    return plan === undefined ? holdPixels(folder, await readdir(folder)) : !isGenerated(plan)
  }
  const store = await openStore(folder)
  try {
    // A GET, since the answer to a HEAD has no words: why access is denied would be lost.
    const plan = await store.get(PLAN).catch((error: unknown) => {
      if (error instanceof VtpError && error.code === 'not_found') return undefined
      throw error
    })
    if (plan) return !isGenerated(Buffer.from(plan).toString())
    const names: string[] = []
    for (const prefix of ['part-', 'latents_rank']) for await (const name of store.names(prefix)) names.push(name)
    return await holdPixels(folder.replace(/\/+$/, ''), names)
  } finally {
    await store.close()
  }
}

const PLAN = '_vtp/plan.json'

function isGenerated(plan: string): boolean {
  try {
    return (JSON.parse(plan) as { kind?: unknown } | null)?.kind === 'generate'
  } catch {
    return false
  }
}

/** Whether the shards among the names are a source; tables of image files may have the same names. */
async function holdPixels(folder: string, names: string[]): Promise<boolean> {
  const [first] = names.filter(isShardName).sort()
  if (first === undefined) return false
  return !first.endsWith('.parquet') || hasPixels(`${folder}/${first}`)
}

/** Whether a Parquet file is a shard with pixels, and no table of image files. Reads its end alone. */
export async function hasPixels(file: string): Promise<boolean> {
  const reader = await openRangeReader(file).catch(() => undefined)
  if (!reader) return false
  try {
    const { schema } = await parquetMetadataAsync({
      byteLength: reader.size,
      async slice(start, end = reader.size) {
        return Uint8Array.from(await reader.read(start, end - start)).buffer
      },
    })
    const names = schema.map(({ name }) => name)
    return [COLUMN, 'key', 'sha256'].every((name) => names.includes(name))
  } catch {
    return false
  } finally {
    await reader.close()
  }
}

/** Opens the shards of a run's folder or prefix. */
export async function openRunFolder(folder: string, options: SourceOptions): Promise<Source> {
  const uri = uriScheme(folder) === undefined ? path.resolve(folder) : folder.replace(/\/+$/, '')
  return openPixelShards(await findShards(folder), options, uri)
}

/** Opens shard files in this order. Throws usage error `no_pixels` for shards without them, also later. */
export async function openPixelShards(files: string[], options: SourceOptions, uri?: string): Promise<Source> {
  const names = files.map((file) => (uriScheme(file) === undefined ? path.resolve(file) : file))
  const shards = new Map<string, Shard>()
  let size: { height: number; width: number } | undefined
  const open = async (file: string): Promise<Shard> => {
    const shard = await openShard(file)
    try {
      size ??= pixelSize(file, shard)
      const { height, width } = pixelSize(file, shard)
      if (size.height === height && size.width === width) return shard
      throw usageError(
        'mixed_sizes',
        `${file} holds pixels of ${height}×${width}, other shards of ${size.height}×${size.width}`,
        ['give shards of one run'],
      )
    } catch (error) {
      await shard.close()
      throw error
    }
  }
  let queue: Promise<unknown> = Promise.resolve()
  /** One read at a time: the readers of a file share its position. Few are open: one from a bucket is a whole copy. */
  const inTurn = <T>(file: string, fn: (shard: Shard) => Promise<T>): Promise<T> => {
    const read = queue.then(async () => {
      const shard = shards.get(file) ?? (await open(file))
      shards.delete(file)
      shards.set(file, shard)
      while (shards.size > OPEN_SHARDS) {
        const [oldest, other] = shards.entries().next().value!
        shards.delete(oldest)
        await other.close()
      }
      return fn(shard)
    })
    queue = read.catch(() => {})
    return read
  }
  const readGroup = (file: string, index: number, columns: string[]): Promise<RowBatch> =>
    inTurn(file, (shard) => shard.readGroup!(index, columns))
  const cache = new Map<string, Promise<RowBatch>>()
  const group = (file: string, index: number): Promise<RowBatch> => {
    const key = `${file} ${index}`
    let rows = cache.get(key)
    if (!rows) {
      rows = readGroup(file, index, [COLUMN])
      rows.catch(() => cache.delete(key))
      cache.set(key, rows)
      while (cache.size > CACHED_GROUPS) cache.delete(cache.keys().next().value!)
    }
    return rows
  }
  // Size and classes are known before the listing.
  const features = names[0] && (await inTurn(names[0], async ({ provenance }) => provenance.huggingface))

  return {
    kind: 'shards',
    uri: uri ?? names.join(' '),
    passedOver: { count: 0, examples: [] },
    notes: [],
    pixelSize: size,
    classes: hubFeatures(features).get('label')?.names,
    async *list(signal) {
      for (const file of names) {
        const groups = await inTurn(file, async (shard) => shard.groups!)
        for (let index = 0; index < groups; index++) {
          signal?.throwIfAborted()
          const { rows } = await readGroup(file, index, [])
          for (const [row, meta] of rows.entries()) {
            yield {
              key: meta.key,
              uri: meta.uri,
              ...(meta.label === null ? {} : { label: meta.label }),
              ...(meta.caption === null ? {} : { caption: meta.caption }),
              ...(options.metadata && meta.metadata ? { metadata: meta.metadata } : {}),
              at: { kind: 'shard', path: file, group: index, row },
            }
          }
        }
      }
    },
    async read({ at }) {
      if (at.kind !== 'shard') throw new RejectError('bad_entry', 'read', `the entry is of kind ${at.kind}`)
      if (!names.includes(at.path)) throw new RejectError('not_found', 'read', `${at.path} is not part of the source`)
      let batch: RowBatch
      try {
        batch = await group(at.path, at.group)
      } catch (error) {
        throw new RejectError('unreadable', 'read', `rows ${at.group} of the shard: ${errorText(error)}`, error)
      }
      const { height, width } = size!
      const bytes = height * width * 3
      const data = (batch.tensors[COLUMN] as Uint8Array).subarray(at.row * bytes, (at.row + 1) * bytes)
      const { width: originalWidth, height: originalHeight, sha256 } = batch.rows[at.row]!
      return packRawRgb({
        image: { data, height, width },
        original: { width: originalWidth, height: originalHeight, sha256 },
      })
    },
    async close() {
      await queue
      await Promise.allSettled([...shards.values()].map((shard) => shard.close()))
    },
  }
}

/** Throws usage error `no_pixels`. */
function pixelSize(file: string, shard: Shard): { height: number; width: number } {
  const shape = shard.columns.find((column) => column.name === COLUMN && column.dtype === 'uint8')?.shape
  const [height = 0, width = 0] = shape ?? []
  if (shape && shard.readGroup) return { height, width }
  throw usageError(
    'no_pixels',
    `${file} has no column "pixels" (it has ${shard.columns.map((column) => column.name).join(', ')})`,
    [
      'as a source, shards must hold pixels: encode the images with --outputs pixels',
      'or give the images; `vtp decode` makes images of latents',
    ],
  )
}
