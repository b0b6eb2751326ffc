/**
 * Pillow's resampling in WebAssembly with 128-bit vectors (wasm/resize/resize.ts): the same bytes as the
 * TypeScript in resize.ts, which is the reference, several times faster. Tall images go through the
 * horizontal pass in bands, so that the module's memory holds the intermediate image but never the input.
 *
 * The module's memory belongs to this thread and is reused from call to call; nothing in it outlives a call.
 */
import type { RgbImage } from '../types.js'
import { ensureMemory, onceWasm, type WasmMemory } from '../wasm.js'
import type { Coefficients } from './resample-weights.js'
import { RESIZE_SIMD_WASM } from './resize-simd-bytes.js'

interface ResizeModule {
  memory: WasmMemory
  horizontal(
    src: number,
    srcStride: number,
    dst: number,
    dstStride: number,
    rows: number,
    width: number,
    table: number,
  ): void
  vertical(src: number, stride: number, dst: number, height: number, table: number): void
}

/** Images that need more stay with the TypeScript version: memory, once grown, is not given back. */
const MAX_MEMORY_BYTES = 192 << 20
const BAND_BYTES = 1 << 20

const align = (value: number, to: number): number => Math.ceil(value / to) * to

const loadModule = onceWasm<ResizeModule>(RESIZE_SIMD_WASM)

const tables = new WeakMap<Coefficients, Uint8Array>()

/** The weights of one axis in the layout of wasm/resize/resize.ts. */
function tableOf(coefficients: Coefficients): Uint8Array {
  const known = tables.get(coefficients)
  if (known) return known
  const { size, starts, lengths, weights } = coefficients
  let bytes = 0
  for (const length of lengths) bytes += 8 + Math.ceil(length / 2) * 8
  const table = new DataView(new ArrayBuffer(bytes))
  let at = 0
  for (let x = 0; x < starts.length; x++) {
    const pairs = Math.ceil(lengths[x]! / 2)
    table.setInt32(at, starts[x]!, true)
    table.setInt32(at + 4, pairs, true)
    at += 8
    for (let i = 0; i < pairs * 2; i++) {
      const weight = i < lengths[x]! ? weights[x * size + i]! : 0
      const low = (weight << 16) >> 16
      const pair = at + (i >> 1) * 8 + (i & 1) * 2
      table.setInt16(pair, low, true)
      table.setInt16(pair + 4, (weight - low) >> 16, true)
    }
    at += pairs * 8
  }
  const made = new Uint8Array(table.buffer)
  tables.set(coefficients, made)
  return made
}

/**
 * Resizes with the given weights; an axis without weights keeps its size. Returns undefined where this
 * machine has no vectors or the image is too large for the module's memory.
 */
export function resizeSimd(
  image: RgbImage,
  width: number,
  height: number,
  axes: { horizontal?: Coefficients; vertical?: Coefficients },
): RgbImage | undefined {
  const module = loadModule()
  if (!module) return undefined
  const tableX = axes.horizontal && tableOf(axes.horizontal)
  const tableY = axes.vertical && tableOf(axes.vertical)
  const inStride = image.width * 3
  // A fourth byte is stored behind each row's last pixel, and columns go by 16 bytes.
  const stride = align(width * 3 + 1, 16)
  const bandRows = Math.min(align(image.height, 4), Math.max(4, (BAND_BYTES / inStride) & ~3))
  const [tableXAt, tableYAt] = [0, align(tableX?.length ?? 0, 16)]
  const bandAt = align(tableYAt + (tableY?.length ?? 0), 16)
  const middleAt = align(bandAt + (tableX ? bandRows * inStride + 16 : 0), 16)
  // One row more: the second tap of a pair may have no row of its own.
  const outAt = middleAt + stride * (align(image.height, 4) + 1)
  const end = outAt + (tableY ? stride * height : 0)
  if (end > MAX_MEMORY_BYTES) return undefined
  ensureMemory(module.memory, end)
  const memory = new Uint8Array(module.memory.buffer)
  if (tableX) memory.set(tableX, tableXAt)
  if (tableY) memory.set(tableY, tableYAt)
  if (tableX) {
    for (let y = 0; y < image.height; y += bandRows) {
      const rows = Math.min(bandRows, image.height - y)
      memory.set(image.data.subarray(y * inStride, (y + rows) * inStride), bandAt)
      module.horizontal(bandAt, inStride, middleAt + y * stride, stride, rows, width, tableXAt)
    }
  } else {
    for (let y = 0; y < image.height; y++) {
      memory.set(image.data.subarray(y * inStride, (y + 1) * inStride), middleAt + y * stride)
    }
  }
  if (tableY) module.vertical(middleAt, stride, outAt, height, tableYAt)
  const data = new Uint8Array(height * width * 3)
  const from = tableY ? outAt : middleAt
  for (let y = 0; y < height; y++) {
    data.set(memory.subarray(from + y * stride, from + y * stride + width * 3), y * width * 3)
  }
  return { data, width, height }
}
