/**
 * IEEE half precision and bfloat16 as raw bits in a Uint16Array. Node 20 has no Float16Array, so halves
 * are converted here: reading through a table of all 65,536 values, writing with round-to-nearest-even.
 */

let table: Float32Array | undefined

function buildTable(): Float32Array {
  const out = new Float32Array(65536)
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1
    const exponent = (bits >> 10) & 0x1f
    const mantissa = bits & 0x3ff
    out[bits] =
      exponent === 0
        ? sign * mantissa * 2 ** -24
        : exponent === 31
          ? mantissa === 0
            ? sign * Number.POSITIVE_INFINITY
            : Number.NaN
          : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15)
  }
  return out
}

/** All halves by their bits. */
export function halfTable(): Float32Array {
  table ??= buildTable()
  return table
}

/** Half bits → float32 values (exact). */
export function float16ToFloat32(bits: Uint16Array): Float32Array {
  const values = halfTable()
  const out = new Float32Array(bits.length)
  for (let i = 0; i < bits.length; i++) out[i] = values[bits[i]!]!
  return out
}

/** bfloat16 bits → float32 values (exact). */
export function bfloat16ToFloat32(bits: Uint16Array): Float32Array {
  const out = new Uint32Array(bits.length)
  for (let i = 0; i < bits.length; i++) out[i] = bits[i]! << 16
  return new Float32Array(out.buffer)
}

/** float32 values → half bits, rounding to nearest, ties to even; overflow becomes infinity. */
export function float32ToFloat16(values: Float32Array): Uint16Array {
  const out = new Uint16Array(values.length)
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i]!
    const sign = (x >>> 16) & 0x8000
    const magnitude = x & 0x7fffffff
    if (magnitude >= 0x47800000) {
      // 65536 and above, infinity, NaN
      out[i] = sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00)
    } else if (magnitude < 0x38800000) {
      // below the smallest normal half: a multiple of 2^-24
      const value = Math.abs(values[i]!) * 2 ** 24
      const down = Math.floor(value)
      const rest = value - down
      out[i] = sign | (rest > 0.5 || (rest === 0.5 && down & 1) ? down + 1 : down)
    } else {
      const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1)
      out[i] = sign | ((rounded - 0x38000000) >>> 13)
    }
  }
  return out
}

/** The nearest bfloat16 of a float32 value (ties to even), as a float32 value. NaN stays NaN. */
export function roundToBfloat16(value: number): number {
  scratch.setFloat32(0, value)
  const x = scratch.getUint32(0)
  if ((x & 0x7fffffff) > 0x7f800000) return Number.NaN
  scratch.setUint32(0, ((x + 0x7fff + ((x >>> 16) & 1)) & 0xffff0000) >>> 0)
  return scratch.getFloat32(0)
}
const scratch = new DataView(new ArrayBuffer(4))

/** float32 values → bfloat16 bits, rounding to nearest, ties to even. NaN stays NaN. */
export function float32ToBfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const out = new Uint16Array(values.length)
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i]!
    out[i] = (x & 0x7fffffff) > 0x7f800000 ? (x >>> 16) | 0x40 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16
  }
  return out
}
