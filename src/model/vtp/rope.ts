/**
 * Rotary position embedding in the reference's arithmetic (vtp/models/layers/embeddings.py and
 * attention.py): everything in bfloat16, rounded to nearest even after every single operation, even when
 * the model runs in float32. The tables equal the official ones bit for bit. Training may ask for float32 tables, as
 * the official class makes them of float32 periods: `round` is then Math.fround.
 */
import { roundToBfloat16 } from '../../math/half.js'

export interface RopeTables {
  /** Values of bfloat16 precision, row-major over the grid: [h·w, d]. */
  sin: Float32Array
  cos: Float32Array
}

/** Cell centres of an axis of `n` cells in [-1, 1]. */
export function ropeCoordinates(n: number, round: (value: number) => number = roundToBfloat16): Float32Array {
  const out = new Float32Array(n)
  for (let j = 0; j < n; j++) {
    const unit = round(Math.fround(round(0.5 + j) / n))
    out[j] = round(round(2 * unit) - 1)
  }
  return out
}

const TWO_PI = Math.fround(2 * Math.PI)

/** Tables for a grid of h × w patches; `periods` are the checkpoint's d/4 stored values. */
export function ropeTables(
  periods: Float32Array,
  h: number,
  w: number,
  round: (value: number) => number = roundToBfloat16,
): RopeTables {
  const quarter = periods.length
  const d = quarter * 4
  const sin = new Float32Array(h * w * d)
  const cos = new Float32Array(h * w * d)
  const rows = ropeCoordinates(h, round)
  const columns = ropeCoordinates(w, round)
  const angle = (coordinate: number, i: number): number =>
    round(Math.fround(round(Math.fround(TWO_PI * coordinate)) / periods[i]!))
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const base = (y * w + x) * d
      for (let i = 0; i < quarter; i++) {
        // The row's angles, then the column's, then both once more.
        for (const [k, a] of [
          [i, angle(rows[y]!, i)],
          [quarter + i, angle(columns[x]!, i)],
        ] as const) {
          const s = round(Math.fround(Math.sin(a)))
          const c = round(Math.fround(Math.cos(a)))
          sin[base + k] = s
          sin[base + 2 * quarter + k] = s
          cos[base + k] = c
          cos[base + 2 * quarter + k] = c
        }
      }
    }
  }
  return { sin, cos }
}
