/** Pillow's CMYK → RGB: 255 − k, less the ink's share of it, divided by 255 with rounding (src/libImaging/Convert.c). */
export function cmykPixel(cmyk: Uint8Array, from: number, out: Uint8Array, to: number): void {
  const rest = 255 - cmyk[from + 3]!
  for (let c = 0; c < 3; c++) {
    const product = cmyk[from + c]! * rest + 128
    out[to + c] = Math.max(0, rest - (((product >> 8) + product) >> 8))
  }
}

export function cmykToRgb(cmyk: Uint8Array): Uint8Array {
  const out = new Uint8Array((cmyk.length / 4) * 3)
  for (let from = 0, to = 0; from < cmyk.length; from += 4, to += 3) cmykPixel(cmyk, from, out, to)
  return out
}
