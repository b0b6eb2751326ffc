/**
 * Shards of ours with the output `pixels` as a source: preprocessed images that need no decoding any more.
 * Rows keep key, uri, label and caption of the images that they were made of, and the order of the shards.
 * Pixels are read one record batch (Arrow) or row group (Parquet) at a time, the last few being kept.
 */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { errorText, usageError } from '../../errors.js'
import { packRawRgb } from '../../image/raw-rgb.js'
import { RejectError, type RowBatch, type Source } from '../../types.js'
import { findShards, openShard, type Shard } from '../shards/read.js'
import type { SourceOptions } from './options.js'
import { hubFeatures } from './table.js'

const CACHED_GROUPS = 2
const COLUMN = 'pixels'

/** Whether a folder is the output of a run with shards of pixels; a folder of images otherwise. */
export async function isRunFolder(folder: string): Promise<boolean> {
  const plan = await stat(path.join(folder, '_vtp', 'plan.json')).catch(() => undefined)
  return plan?.isFile() ?? false
}

/** Whether a Parquet file is a shard with pixels, and no table of image files. */
export async function hasPixels(file: string): Promise<boolean> {
  const shard = await openShard(file).catch(() => undefined)
  if (!shard) return false
  await shard.close()
  return shard.columns.some(({ name }) => name === COLUMN)
}

/** Opens the shards of a run's folder. */
export async function openRunFolder(folder: string, options: SourceOptions): Promise<Source> {
  return openPixelShards(await findShards(folder), options, path.resolve(folder))
}

/** Opens shard files in this order. Throws usage error `no_pixels` for shards without them. */
export async function openPixelShards(files: string[], options: SourceOptions, uri?: string): Promise<Source> {
  const shards = new Map<string, Shard>()
  const close = async (): Promise<void> => {
    await Promise.allSettled([...shards.values()].map((shard) => shard.close()))
  }
  let size: { height: number; width: number } | undefined
  try {
    for (const name of files) {
      const file = path.resolve(name)
      const shard = await openShard(file)
      shards.set(file, shard)
      const shape = shard.columns.find((column) => column.name === COLUMN && column.dtype === 'uint8')?.shape
      if (!shape || !shard.readGroup) {
        throw usageError(
          'no_pixels',
          `${file} has no column "pixels" (it has ${shard.columns.map((column) => column.name).join(', ')})`,
          ['as a source, shards must hold pixels: encode the images with --outputs pixels', 'or give the images'],
        )
      }
      const [height = 0, width = 0] = shape
      size ??= { height, width }
      if (size.height !== height || size.width !== width) {
        throw usageError(
          'mixed_sizes',
          `${file} holds pixels of ${height}×${width}, other shards of ${size.height}×${size.width}`,
          ['give shards of one run'],
        )
      }
    }
  } catch (error) {
    await close()
    throw error
  }

  const cache = new Map<string, Promise<RowBatch>>()
  let queue: Promise<unknown> = Promise.resolve()
  /** One read at a time: the readers of a file share its position. */
  const readGroup = (file: string, index: number, columns: string[]): Promise<RowBatch> => {
    const read = queue.then(() => shards.get(file)!.readGroup!(index, columns))
    queue = read.catch(() => {})
    return read
  }
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

  return {
    kind: 'shards',
    uri: uri ?? [...shards.keys()].join(' '),
    passedOver: { count: 0, examples: [] },
    notes: [],
    pixelSize: size,
    classes: hubFeatures([...shards.values()][0]?.provenance.huggingface).get('label')?.names,
    async *list(signal) {
      for (const [file, shard] of shards) {
        for (let index = 0; index < shard.groups!; index++) {
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
      if (!shards.has(at.path)) throw new RejectError('not_found', 'read', `${at.path} is not part of the source`)
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
    close,
  }
}
