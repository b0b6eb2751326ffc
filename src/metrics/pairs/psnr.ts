/**
 * Peak signal-to-noise ratio of one image, values 0…1 scaled to 0…255 as the official script does, over
 * all channels and pixels; infinite for identical images. `a` and `b` have equal length.
 */
export function psnr(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) {
    const d = (a[i]! - b[i]!) * 255
    sum += d * d
  }
  return sum === 0 ? Number.POSITIVE_INFINITY : 20 * Math.log10(255 / Math.sqrt(sum / a.length))
}
