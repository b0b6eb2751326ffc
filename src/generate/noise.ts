/**
 * Noise and random labels that are functions of (seed, index of the sample) alone, so that sample i is the
 * same whatever the batch, the worker or an interruption.
 *
 * Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) with the seed's two
 * halves as key and (block, stream, index low, index high) as counter gives four 32-bit words per block. Two
 * words make a float64 in [0, 1) with 53 bits; two of those make two normals by Box-Muller in float64, which
 * are rounded to float32 in the order of the latent's elements [C, H, W].
 */
const STREAM_NOISE = 0
const STREAM_LABEL = 1

const M0 = 0xd2511f53
const M1 = 0xcd9e8d57
const W0 = 0x9e3779b9
const W1 = 0xbb67ae85

/** The high 32 bits of a product of two unsigned 32-bit numbers. */
function mulHigh(a: number, b: number): number {
  const [aLow, aHigh] = [a & 0xffff, a >>> 16]
  const [bLow, bHigh] = [b & 0xffff, b >>> 16]
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  const other = aLow * bHigh + (middle & 0xffff)
  return (aHigh * bHigh + Math.floor(middle / 65536) + (other >>> 16)) >>> 0
}

/** Ten rounds of Philox4x32; counter and key are unsigned 32-bit numbers. */
export function philox4x32(counter: readonly number[], key: readonly number[]): [number, number, number, number] {
  let [c0 = 0, c1 = 0, c2 = 0, c3 = 0] = counter
  let [k0 = 0, k1 = 0] = key
  for (let round = 0; round < 10; round++) {
    const high0 = mulHigh(M0, c0)
    const low0 = Math.imul(M0, c0) >>> 0
    const high1 = mulHigh(M1, c2)
    const low1 = Math.imul(M1, c2) >>> 0
    c0 = (high1 ^ c1 ^ k0) >>> 0
    c1 = low1
    c2 = (high0 ^ c3 ^ k1) >>> 0
    c3 = low0
    k0 = (k0 + W0) >>> 0
    k1 = (k1 + W1) >>> 0
  }
  return [c0, c1, c2, c3]
}

/** 53 bits as a number in [0, 1). */
function unit(high: number, low: number): number {
  return ((high >>> 5) * 67108864 + (low >>> 6)) / 9007199254740992
}

const halves = (value: number): [number, number] => [value >>> 0, Math.floor(value / 4294967296) >>> 0]

/** Standard normals of one sample. `seed` and `index` are whole numbers from 0 to 2^53 − 1. */
export function sampleNoise(seed: number, index: number, count: number): Float32Array {
  const key = halves(seed)
  const [low, high] = halves(index)
  const out = new Float32Array(count)
  for (let i = 0, block = 0; i < count; i += 2, block++) {
    const [a, b, c, d] = philox4x32([block, STREAM_NOISE, low, high], key)
    const radius = Math.sqrt(-2 * Math.log(1 - unit(a, b)))
    const angle = 2 * Math.PI * unit(c, d)
    out[i] = radius * Math.cos(angle)
    if (i + 1 < count) out[i + 1] = radius * Math.sin(angle)
  }
  return out
}

/** A uniform whole number in [0, count) for one sample. */
export function sampleChoice(seed: number, index: number, count: number): number {
  const [low, high] = halves(index)
  const [a, b] = philox4x32([0, STREAM_LABEL, low, high], halves(seed))
  return Math.floor(unit(a, b) * count)
}
