/**
 * Room for one matrix and a few vectors in the memory of the kernels (wasm/linalg/kernels.ts), which are several times
 * faster than loops over typed arrays. A workspace lives as long as one factorisation: its memory goes
 * with it. Rows and vectors are padded to a multiple of four elements, with zeros.
 */
import { VtpError } from '../../errors.js'
import { ensureMemory, instantiateWasm, type WasmMemory } from '../../wasm.js'
import { KERNELS_WASM } from './kernels-bytes.js'

interface Kernels {
  memory: WasmMemory
  updateAndMultiply(a: number, stride: number, rows: number, u: number, q: number, v: number, p: number): void
  multiply(a: number, stride: number, rows: number, x: number, length: number, y: number): void
}

export interface Workspace {
  /** Row i of the matrix. */
  row(i: number): Float64Array
  /** The vectors, by number. */
  vectors: Float64Array[]
  /** A −= u·qᵀ + q·uᵀ, then p += A·v, on the first `count` rows, lower triangle. Vectors are given by number. */
  updateAndMultiply(count: number, u: number, q: number, v: number, p: number): void
  /** y[i] = Σ A[i, k]·x[k] over k < length, for i from `from` (rounded down to four) on. */
  multiply(from: number, x: number, length: number, y: number): void
}

const BYTES = 8
const ROWS = 4
const LINE_BYTES = 64

const padded = (n: number): number => Math.ceil(n / ROWS) * ROWS

/** A matrix of n × n zeros and `vectorCount` vectors of n. */
export function openWorkspace(n: number, vectorCount: number): Workspace {
  const size = padded(n)
  // Not a power of two: lines of the same column would compete for the same places in the cache.
  const stride = size * BYTES + LINE_BYTES
  let kernels: Kernels
  try {
    kernels = instantiateWasm<Kernels>(KERNELS_WASM)
    ensureMemory(kernels.memory, (size + vectorCount) * stride)
  } catch (error) {
    throw new VtpError('The eigenvalues of a covariance need WebAssembly with 128-bit vectors, which this Node lacks', {
      code: 'no_webassembly',
      suggestions: ['leave out --jitless and like options of Node', `free ${Math.ceil((size * stride) / 2 ** 20)} MB`],
      cause: error,
    })
  }
  const { buffer } = kernels.memory
  const at = (line: number): number => line * stride
  const vector = (number: number): number => at(size + number)
  return {
    row: (i) => new Float64Array(buffer, at(i), size),
    vectors: Array.from({ length: vectorCount }, (_, i) => new Float64Array(buffer, vector(i), size)),
    updateAndMultiply: (count, u, q, v, p) =>
      kernels.updateAndMultiply(0, stride, padded(count), vector(u), vector(q), vector(v), vector(p)),
    multiply(from, x, length, y) {
      const first = from - (from % ROWS)
      if (first >= size) return
      const target = vector(y) + first * BYTES
      kernels.multiply(at(first), stride, size - first, vector(x), length + (length % 2), target)
    },
  }
}
