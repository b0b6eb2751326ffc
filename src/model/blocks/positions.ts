/**
 * Tables of positions for another grid than the trained one, by the rules of torch.nn.functional.interpolate that the
 * families use. All have half-pixel centres. Without antialiasing bicubic has a = −0.75 and clamps at the edges; with
 * it a = −0.5 (Pillow's), the support grows when shrinking, and weights are renormalised where the edge cuts them.
 * `bicubic-offset` is DINOv2's: the scale factor (size + 0.1) / trained instead of size / trained.
 */

export type PositionRule = 'bicubic' | 'bicubic-antialias' | 'bicubic-offset' | 'bilinear'

export interface Grid {
  h: number
  w: number
}

/** Positions that one place of the new axis is made of, and their weights. */
interface Taps {
  first: number
  weights: number[]
}

/** Keys' cubic kernel with free parameter `a`. */
function cubic(x: number, a: number): number {
  const t = Math.abs(x)
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1
  return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0
}

function tapsAntialias(from: number, to: number): Taps[] {
  const scale = from / to
  const stretch = Math.max(scale, 1)
  return Array.from({ length: to }, (_, i) => {
    const centre = scale * (i + 0.5)
    const first = Math.max(Math.trunc(centre - 2 * stretch + 0.5), 0)
    const end = Math.min(Math.trunc(centre + 2 * stretch + 0.5), from)
    const raw = Array.from({ length: end - first }, (_, j) => cubic((j + first - centre + 0.5) / stretch, -0.5))
    const sum = raw.reduce((a, b) => a + b, 0)
    return { first, weights: raw.map((weight) => weight / sum) }
  })
}

function tapsPlain(from: number, to: number, rule: PositionRule): Taps[] {
  const scale = rule === 'bicubic-offset' ? from / (to + 0.1) : from / to
  const clamp = (x: number): number => Math.min(Math.max(x, 0), from - 1)
  return Array.from({ length: to }, (_, i) => {
    const source = (i + 0.5) * scale - 0.5
    const at = rule === 'bilinear' ? Math.max(source, 0) : source
    const base = Math.floor(at)
    const t = at - base
    const kernel = rule === 'bilinear' ? [0, 1 - t, t, 0] : [t + 1, t, 1 - t, 2 - t].map((x) => cubic(x, -0.75))
    const weights = new Array<number>(from).fill(0)
    for (const [k, weight] of kernel.entries()) weights[clamp(base - 1 + k)]! += weight
    return { first: 0, weights }
  })
}

function axisTaps(from: number, to: number, rule: PositionRule): Taps[] {
  return rule === 'bicubic-antialias' ? tapsAntialias(from, to) : tapsPlain(from, to, rule)
}

/** The sums of one axis as a matrix, [to, from]. */
export function interpolationMatrix(from: number, to: number, rule: PositionRule): Float32Array {
  const out = new Float32Array(to * from)
  for (const [i, { first, weights }] of axisTaps(from, to, rule).entries()) {
    for (const [j, weight] of weights.entries()) out[i * from + first + j] = weight
  }
  return out
}

/** `table` [from.h·from.w, D] at another grid, [to.h·to.w, D]. Computed in double precision. */
export function resamplePositions(table: Float32Array, from: Grid, to: Grid, rule: PositionRule): Float32Array {
  const dim = table.length / (from.h * from.w)
  const columns = axisTaps(from.w, to.w, rule)
  const rows = axisTaps(from.h, to.h, rule)
  const wide = new Float64Array(from.h * to.w * dim)
  for (let y = 0; y < from.h; y++) {
    for (const [x, { first, weights }] of columns.entries()) {
      const out = (y * to.w + x) * dim
      for (const [j, weight] of weights.entries()) {
        if (weight === 0) continue
        const source = (y * from.w + first + j) * dim
        for (let d = 0; d < dim; d++) wide[out + d]! += weight * table[source + d]!
      }
    }
  }
  const out = new Float64Array(to.h * to.w * dim)
  for (const [y, { first, weights }] of rows.entries()) {
    for (const [j, weight] of weights.entries()) {
      if (weight === 0) continue
      const source = (first + j) * to.w * dim
      const place = y * to.w * dim
      for (let i = 0; i < to.w * dim; i++) out[place + i]! += weight * wide[source + i]!
    }
  }
  return Float32Array.from(out)
}

/** The same, but untouched where the grids are equal (for rules that leave it alone then). */
export function positionsFor(table: Float32Array, from: Grid, to: Grid, rule: PositionRule): Float32Array {
  return from.h === to.h && from.w === to.w ? table : resamplePositions(table, from, to, rule)
}
