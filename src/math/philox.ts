/**
 * Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): random numbers that are
 * functions of a key and a counter, and of nothing that came before. Two words make a float64 in [0, 1) with 53 bits;
 * two of those make two normals by Box-Muller in float64, which are rounded to float32.
 */
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
export function unit(high: number, low: number): number {
  return ((high >>> 5) * 67108864 + (low >>> 6)) / 9007199254740992
}

/** The low and the high 32 bits of a whole number below 2^53. */
export const halves = (value: number): [number, number] => [value >>> 0, Math.floor(value / 4294967296) >>> 0]

/** Standard normals of a counter (stream, low, high) under a key of two words. */
export function normals(
  key: readonly number[],
  [stream, low, high]: readonly [number, number, number],
  count: number,
): Float32Array {
  const out = new Float32Array(count)
  for (let i = 0, block = 0; i < count; i += 2, block++) {
    const [a, b, c, d] = philox4x32([block, stream, low, high], key)
    const radius = Math.sqrt(-2 * Math.log(1 - unit(a, b)))
    const angle = 2 * Math.PI * unit(c, d)
    out[i] = radius * Math.cos(angle)
    if (i + 1 < count) out[i + 1] = radius * Math.sin(angle)
  }
  return out
}
