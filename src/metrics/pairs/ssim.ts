/**
 * Structural similarity (Wang et al. 2004) as torchmetrics 1.x computes it with its defaults and
 * data_range = 1: Gaussian window of 11 × 11, sigma 1.5, k1 = 0.01, k2 = 0.03, population (co)variances,
 * variances clamped at 0, margins mirrored, mean over channels and all positions.
 * In float64: the reference's float32 loses up to 1e-5 on flat areas, where E[x²] − E[x]² cancels.
 */
import { VtpError } from '../../errors.js'

const RADIUS = 5
const SIGMA = 1.5
const C1 = 0.01 ** 2
const C2 = 0.03 ** 2
/** Behind every row of filtered values: rows of 2 KiB would all lie in the same few lines of a cache. */
const GAP = 8

/** Weights by distance from the centre. */
const TAPS = (() => {
  const raw = Array.from({ length: RADIUS + 1 }, (_, d) => Math.exp(-((d / SIGMA) ** 2) / 2))
  const total = raw[0]! + 2 * raw.slice(1).reduce((a, b) => a + b, 0)
  return Float64Array.from(raw, (w) => w / total)
})()

interface Scratch {
  /** The two channels with their mirrored margins. */
  padded: [Float32Array, Float32Array]
  rows: Float64Array[]
}
const scratches = new Map<string, Scratch>()

/** Throws VtpError `image_too_small` for sizes that the window does not fit. */
export function assertSsimSize(height: number, width: number): void {
  if (height > RADIUS && width > RADIUS) return
  throw new VtpError(`SSIM needs images of at least ${RADIUS + 1} × ${RADIUS + 1} pixels, not ${width} × ${height}`, {
    code: 'image_too_small',
    suggestions: ['leave ssim out of --metrics'],
  })
}

/** SSIM of one image; `a` and `b` are float32 [channels, height, width] in 0…1, at least 6 × 6. */
export function ssim(a: Float32Array, b: Float32Array, channels: number, height: number, width: number): number {
  const [h, w] = [height + 2 * RADIUS, width + 2 * RADIUS]
  let scratch = scratches.get(`${h} ${w}`)
  if (!scratch) {
    scratches.clear()
    scratch = {
      padded: [new Float32Array(h * w), new Float32Array(h * w)],
      rows: Array.from({ length: 5 }, () => new Float64Array(h * (width + GAP))),
    }
    scratches.set(`${h} ${w}`, scratch)
  }
  const { padded, rows } = scratch
  let sum = 0
  for (let c = 0; c < channels; c++) {
    mirrorMargins(a, c * height * width, height, width, padded[0])
    mirrorMargins(b, c * height * width, height, width, padded[1])
    filterRows(padded[0], padded[1], h, w, rows)
    sum += sumOfChannel(rows, h, width)
  }
  return sum / (channels * height * width)
}

/** Copies a channel into the middle of `out` and mirrors it around its edges (the edge itself is not repeated). */
function mirrorMargins(from: Float32Array, offset: number, height: number, width: number, out: Float32Array): void {
  const mirror = (i: number, size: number): number => (i < 0 ? -i : i >= size ? 2 * size - 2 - i : i)
  const w = width + 2 * RADIUS
  for (let row = -RADIUS; row < height + RADIUS; row++) {
    const source = offset + mirror(row, height) * width
    const to = (row + RADIUS) * w
    out.set(from.subarray(source, source + width), to + RADIUS)
    for (let d = 1; d <= RADIUS; d++) {
      out[to + RADIUS - d] = from[source + d]!
      out[to + RADIUS + width - 1 + d] = from[source + width - 1 - d]!
    }
  }
}

/** Horizontal pass: windowed means of x, y, x², y², xy at every row. */
function filterRows(a: Float32Array, b: Float32Array, height: number, width: number, out: Float64Array[]): void {
  const [mx, my, mxx, myy, mxy] = out as [Float64Array, Float64Array, Float64Array, Float64Array, Float64Array]
  const outWidth = width - 2 * RADIUS
  for (let row = 0; row < height; row++) {
    const start = row * width + RADIUS
    const to = row * (outWidth + GAP)
    for (let i = 0; i < outWidth; i++) {
      const x0 = a[start + i]!
      const y0 = b[start + i]!
      const w0 = TAPS[0]!
      let sx = w0 * x0
      let sy = w0 * y0
      let sxx = w0 * x0 * x0
      let syy = w0 * y0 * y0
      let sxy = w0 * x0 * y0
      for (let d = 1; d <= RADIUS; d++) {
        const w = TAPS[d]!
        const xl = a[start + i - d]!
        const xr = a[start + i + d]!
        const yl = b[start + i - d]!
        const yr = b[start + i + d]!
        sx += w * (xl + xr)
        sy += w * (yl + yr)
        sxx += w * (xl * xl + xr * xr)
        syy += w * (yl * yl + yr * yr)
        sxy += w * (xl * yl + xr * yr)
      }
      mx[to + i] = sx
      my[to + i] = sy
      mxx[to + i] = sxx
      myy[to + i] = syy
      mxy[to + i] = sxy
    }
  }
}

const [W0, W1, W2, W3, W4, W5] = TAPS as unknown as [number, number, number, number, number, number]

/** Windowed mean down a column; `stride` values apart. */
function column(from: Float64Array, at: number, stride: number): number {
  return (
    W0 * from[at]! +
    W1 * (from[at - stride]! + from[at + stride]!) +
    W2 * (from[at - 2 * stride]! + from[at + 2 * stride]!) +
    W3 * (from[at - 3 * stride]! + from[at + 3 * stride]!) +
    W4 * (from[at - 4 * stride]! + from[at + 4 * stride]!) +
    W5 * (from[at - 5 * stride]! + from[at + 5 * stride]!)
  )
}

/** Vertical pass and the index itself, summed over a channel. */
function sumOfChannel(rows: Float64Array[], height: number, width: number): number {
  const [mx, my, mxx, myy, mxy] = rows as [Float64Array, Float64Array, Float64Array, Float64Array, Float64Array]
  const stride = width + GAP
  let total = 0
  for (let row = RADIUS; row < height - RADIUS; row++) {
    for (let i = 0; i < width; i++) {
      const at = row * stride + i
      const x = column(mx, at, stride)
      const y = column(my, at, stride)
      const varX = Math.max(0, column(mxx, at, stride) - x * x)
      const varY = Math.max(0, column(myy, at, stride) - y * y)
      const cov = column(mxy, at, stride) - x * y
      total += ((2 * x * y + C1) * (2 * cov + C2)) / ((x * x + y * y + C1) * (varX + varY + C2))
    }
  }
  return total
}
