/** A probe's features from the shards of `vtp encode`. */
import { usageError } from '../../errors.js'
import { findShards, openShard } from '../../io/shards/index.js'
import { float16ToFloat32 } from '../../math/half.js'
import type { TensorData } from '../../types.js'
import { createFeatureFile, type FeatureFile, type TemporaryFeatureFile } from '../fid/feature-file.js'
import { stampFiles } from '../pass/stamp.js'
import { type FeatureLayout, joinRows, rowWidth } from './layout.js'

/** Features of a set of shards on disk, with their labels. */
export interface StoredFeatures {
  layout: FeatureLayout
  file: FeatureFile
  labels: Int32Array
  /** Digest of the model that made them, where the shards say. */
  modelDigest?: string
  modelName?: string
  /** Transform, precision and element type, as far as the shards say. */
  made: string
  /** Changes with the files themselves. */
  stamp: string
  close(): Promise<void>
}

/** Collects what a probe needs from shards, of the first `limit` rows: `layer_<k>_cls` and patches, or `cls` and `patches` of the last block. */
export async function openStoredFeatures(input: string, blocks: number, limit?: number): Promise<StoredFeatures> {
  let file: TemporaryFeatureFile | undefined
  let layout: FeatureLayout | undefined
  let provenance: Record<string, string> = {}
  let dtype: string | undefined
  const labels: number[] = []
  try {
    const files = await findShards(input)
    for (const path of files) {
      const shard = await openShard(path)
      try {
        provenance = shard.provenance
        const plan = columnsOf(
          shard.columns.map((c) => c.name),
          blocks,
          path,
        )
        const column = shard.columns.find((c) => c.name === plan.cls[0])!
        const dim = column.shape[0]!
        dtype = column.dtype
        layout ??= { dim, blocks: plan.cls.length, vector: 'CLS', patches: plan.patches !== undefined }
        file ??= await createFeatureFile(rowWidth(layout))
        const wanted = [...plan.cls, ...(plan.patches ? [plan.patches] : [])]
        for await (const { rows, tensors } of shard.read(wanted, 256)) {
          const floats = (name: string): Float32Array => toFloats(tensors[name]!)
          const width = rowWidth(layout)
          const joined = joinRows(
            plan.cls.map(floats),
            plan.patches ? floats(plan.patches) : undefined,
            rows.length,
            dim,
          )
          const kept = Math.min(rows.length, (limit ?? Number.POSITIVE_INFINITY) - labels.length)
          await file.append(joined.subarray(0, kept * width))
          for (const row of rows.slice(0, kept)) {
            if (row.label === null)
              throw usageError('no_label', `${path}: the row ${row.key} has no label`, ['encode a source with classes'])
            labels.push(row.label)
          }
          if (labels.length === limit) break
        }
      } finally {
        await shard.close()
      }
      if (labels.length === limit) break
    }
    const { 'vtp.model_digest': modelDigest, 'vtp.model': modelName } = provenance
    return {
      layout: layout!,
      file: file!,
      labels: Int32Array.from(labels),
      modelDigest,
      modelName,
      made: [
        provenance['vtp.transform'] ?? 'unknown transform',
        provenance['vtp.precision'] ? `encoder ${provenance['vtp.precision']}` : 'unknown precision',
        `stored as ${dtype}`,
      ].join(', '),
      stamp: await stampFiles(files),
      close: () => file!.close(),
    }
  } catch (error) {
    await file?.close()
    throw error
  }
}

function columnsOf(names: string[], blocks: number, file: string): { cls: string[]; patches?: string } {
  const layers = names
    .map((name) => /^layer_(\d+)_cls$/.exec(name)?.[1])
    .filter((k) => k !== undefined)
    .sort((a, b) => Number(a) - Number(b))
    .slice(-blocks)
  const has = (name: string): string | undefined => (names.includes(name) ? name : undefined)
  if (layers.length > 0)
    return { cls: layers.map((k) => `layer_${k}_cls`), patches: has(`layer_${layers.at(-1)}_patches`) }
  if (names.includes('cls')) return { cls: ['cls'], patches: has('patches') }
  throw usageError('no_features', `${file} has no columns for a probe (it has ${names.join(', ')})`, [
    'encode with --outputs layers --layers 4, or with --outputs cls,patches',
  ])
}

function toFloats(data: TensorData): Float32Array {
  return data instanceof Uint16Array
    ? float16ToFloat32(data)
    : data instanceof Float32Array
      ? data
      : Float32Array.from(data)
}
