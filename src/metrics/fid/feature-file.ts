/**
 * Features of a set on disk, for metrics that need them all (KID, precision and recall, Inception Score):
 * float32 rows in a temporary file, read back by number, so that memory does not grow with the set.
 */
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { readFully } from '../../io/read-fully.js'
import type { Matrix } from '../linalg/matmul.js'

export interface FeatureFile {
  readonly dims: number
  readonly count: number
  append(rows: Float32Array): Promise<void>
  /** The rows of these numbers as float64, one per line: [indices, dims]. */
  rows(indices: number[]): Promise<Matrix>
  /** Consecutive rows as float32. */
  block(start: number, count: number): Promise<Float32Array>
  /** Removes the file. */
  close(): Promise<void>
}

export async function createFeatureFile(dims: number): Promise<FeatureFile> {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp-features-'))
  const handle: FileHandle = await open(path.join(dir, 'features.f32'), 'w+')
  let count = 0
  const block = async (start: number, rows: number): Promise<Float32Array> => {
    const out = new Float32Array(rows * dims)
    await readFully(handle, new Uint8Array(out.buffer), start * dims * 4)
    return out
  }
  return {
    dims,
    get count() {
      return count
    },
    async append(rows) {
      const bytes = new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength)
      const start = count * dims * 4
      for (let done = 0; done < bytes.length; )
        done += (await handle.write(bytes, done, bytes.length - done, start + done)).bytesWritten
      count += rows.length / dims
    },
    async rows(indices) {
      const data = new Float64Array(indices.length * dims)
      for (const [i, index] of indices.entries()) data.set(await block(index, 1), i * dims)
      return { rows: indices.length, columns: dims, data }
    },
    block,
    async close() {
      await handle.close()
      await rm(dir, { recursive: true, force: true })
    },
  }
}
