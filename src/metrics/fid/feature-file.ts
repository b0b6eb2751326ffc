/**
 * Features of a set on disk, for metrics that need them all (KID, precision and recall, Inception Score):
 * float32 rows in a file, read back by number, so that memory does not grow with the set.
 */
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { makeTempFolder } from '../../io/temp-folder.js'
import type { Matrix } from '../linalg/matrix.js'
import { type AppendFile, openAppendFile } from '../pass/append-file.js'

export interface FeatureFile {
  readonly dims: number
  readonly count: number
  append(rows: Float32Array): Promise<void>
  /** The rows of these numbers as float64, one per line: [indices, dims]. */
  rows(indices: number[]): Promise<Matrix>
  /** Consecutive rows as float32. */
  block(start: number, count: number): Promise<Float32Array>
}

/** Rows of this width in a file, which may hold some already. */
export function featureRows(dims: number, file: AppendFile): FeatureFile {
  const block = async (start: number, rows: number): Promise<Float32Array> => {
    const out = new Float32Array(rows * dims)
    await file.read(new Uint8Array(out.buffer), start * dims * 4)
    return out
  }
  return {
    dims,
    get count() {
      return file.bytes / (dims * 4)
    },
    append: ({ buffer, byteOffset, byteLength }) => file.append(new Uint8Array(buffer, byteOffset, byteLength)),
    async rows(indices) {
      const data = new Float64Array(indices.length * dims)
      for (const [i, index] of indices.entries()) data.set(await block(index, 1), i * dims)
      return { rows: indices.length, columns: dims, data }
    },
    block,
  }
}

export interface TemporaryFeatureFile extends FeatureFile {
  /** Removes the file. */
  close(): Promise<void>
}

export async function createFeatureFile(dims: number): Promise<TemporaryFeatureFile> {
  const dir = await makeTempFolder('features')
  const file = await openAppendFile(path.join(dir, 'features.f32'), 0)
  return Object.assign(featureRows(dims, file), {
    async close() {
      await file.close()
      await rm(dir, { recursive: true, force: true })
    },
  })
}
