/**
 * Pillow's resampling of float images (mode F: sums in float64, an unrounded float32 intermediate), as
 * clean-fid uses it: each channel by itself, bicubic with antialiasing, then clipped to 0…255, not rounded.
 */
import type { RgbImage } from '../types.js'
import { resampleWindows, type Windows } from './resample-weights.js'

const FILTER = 'bicubic'
const windows = new Map<string, Windows>()

function windowsFor(from: number, to: number): Windows {
  const key = `${from} ${to}`
  let found = windows.get(key)
  if (!found) {
    if (windows.size >= 64) windows.clear()
    found = resampleWindows(from, to, FILTER)
    windows.set(key, found)
  }
  return found
}

/** uint8 [H, W, 3] → float32 [3, side, side], values of 0…255. */
export function resizeForCleanFid({ data, width, height }: RgbImage, side: number): Float32Array {
  const out = new Float32Array(3 * side * side)
  const across = windowsFor(width, side)
  const down = windowsFor(height, side)
  const middle = new Float32Array(height * side)
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < side; x++) {
        const start = (y * width + across.starts[x]!) * 3 + c
        const at = x * across.size
        let sum = 0
        for (let k = 0; k < across.lengths[x]!; k++) sum += data[start + k * 3]! * across.weights[at + k]!
        middle[y * side + x] = sum
      }
    }
    for (let y = 0; y < side; y++) {
      const start = down.starts[y]!
      const at = y * down.size
      for (let x = 0; x < side; x++) {
        let sum = 0
        for (let k = 0; k < down.lengths[y]!; k++) sum += middle[(start + k) * side + x]! * down.weights[at + k]!
        out[(c * side + y) * side + x] = Math.min(255, Math.max(0, sum))
      }
    }
  }
  return out
}
