/**
 * 8-bit pixels → rows of a patch embedding. Patches are taken by Reshape and Transpose of the stored pixels; the
 * convolution of size and stride P becomes one product. Rows and columns beyond a multiple of the patch are cut off,
 * as a convolution without padding does.
 */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { addCast, roundSimulated } from '../../graph/linear.js'
import { activationDtype, type Precision } from '../../graph/precision.js'
import { transpose } from '../../graph/transpose.js'
import type { ImageSize } from '../image-model.js'
import { interpolationMatrix } from './positions.js'

export interface PatchGrid {
  height: number
  width: number
  patch: number
}

/** Patches per column and row of an image. */
export function gridOf({ height, width, patch }: PatchGrid): { h: number; w: number } {
  return { h: Math.floor(height / patch), w: Math.floor(width / patch) }
}

/** A convolution's weight [D, 3, P, P] as the matrix [P·P·3, D] of a product with rows in the order of pixels. */
export function patchMatrix(convolution: Float32Array, dim: number, patch: number): Float32Array {
  const area = patch * patch
  const out = new Float32Array(convolution.length)
  for (let o = 0; o < dim; o++) {
    for (let c = 0; c < 3; c++)
      for (let i = 0; i < area; i++) out[(i * 3 + c) * dim + o] = convolution[(o * 3 + c) * area + i]!
  }
  return out
}

/** Adds the input `pixels`, uint8 [N, H, W, 3], and gives (x/255 − mean)/std in rows of patches, [N·h·w, P·P·3]. */
export function addPatchRows(
  graph: GraphBuilder,
  precision: Precision,
  grid: PatchGrid,
  { mean, std, resized }: { mean: readonly number[]; std: readonly number[]; resized?: ImageSize },
): Value {
  const { height, width, patch } = grid
  const { h, w } = gridOf(resized ? { ...resized, patch } : grid)
  let pixels = graph.input({ name: 'pixels', dtype: 'uint8', shape: ['N', height, width, 3] })
  if (resized && (resized.height !== height || resized.width !== width)) pixels = addResize(graph, pixels, resized)
  const size = resized ?? grid
  if (h * patch !== size.height || w * patch !== size.width) {
    pixels = graph.op('Slice', [pixels, graph.ints([0, 0]), graph.ints([h * patch, w * patch]), graph.ints([1, 2])])
  }
  const split = graph.op('Reshape', [pixels, graph.ints([-1, h, patch, w, patch, 3])])
  const grouped = graph.op('Transpose', [split], { perm: [0, 1, 3, 2, 4, 5] }) // [N, h, w, P, P, 3]
  const rows = graph.op('Reshape', [grouped, graph.ints([-1, patch * patch, 3])])
  const colours = rows.dtype === 'uint8' ? graph.op('Cast', [rows], { to: 1 }) : rows
  const unit = graph.op('Div', [colours, graph.scalar(255)])
  const centred = graph.op('Sub', [unit, graph.constant([...mean], [3])])
  const normalised = graph.op('Div', [centred, graph.constant([...std], [3])])
  const flat = graph.op('Reshape', [normalised, graph.ints([-1, patch * patch * 3])])
  return roundSimulated(graph, precision, addCast(graph, flat, 'float32', activationDtype(precision)))
}

/**
 * Bicubic as torch.nn.functional.interpolate without antialiasing, not clamped, of [N, H, W, 3]: one product for each
 * axis, since every new pixel is the same sum of old ones in every image.
 */
function addResize(graph: GraphBuilder, pixels: Value, { height, width }: ImageSize): Value {
  const [, from, fromWidth] = pixels.shape as [unknown, number, number]
  const planes = graph.op('Transpose', [graph.op('Cast', [pixels], { to: 1 })], { perm: [0, 3, 1, 2] }) // [N, 3, H, W]
  const rows = graph.constant(interpolationMatrix(from, height, 'bicubic'), [height, from])
  const columns = graph.constant(transpose(interpolationMatrix(fromWidth, width, 'bicubic'), width, fromWidth), [
    fromWidth,
    width,
  ])
  const resized = graph.op('MatMul', [rows, graph.op('MatMul', [planes, columns])])
  return graph.op('Transpose', [resized], { perm: [0, 2, 3, 1] })
}
