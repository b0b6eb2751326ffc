/**
 * Memory for decoded images that is used again. Fresh pages cost a quarter of decoding a large JPEG: the system
 * zeroes each when it is first written.
 */

/** More is not kept between images. */
const MOST_BYTES = 64 * 2 ** 20

export interface Scratch {
  /** Memory of so many bytes, holding anything; nobody else has it until it is given back. */
  take(bytes: number): Uint8Array<ArrayBuffer>
  /** Takes back what nobody reads any more. False: it is not kept. */
  giveBack(buffer: ArrayBufferLike): boolean
}

export function createScratch(): Scratch {
  let kept: ArrayBuffer | undefined
  const lent = new WeakSet<ArrayBufferLike>()
  return {
    take(bytes) {
      let buffer = kept
      if (buffer && buffer.byteLength >= bytes) kept = undefined
      else buffer = Buffer.allocUnsafeSlow(bytes).buffer
      lent.add(buffer)
      return new Uint8Array(buffer, 0, bytes)
    },
    giveBack(buffer) {
      if (!lent.delete(buffer) || buffer.byteLength > MOST_BYTES) return false
      if (kept && kept.byteLength >= buffer.byteLength) return false
      kept = buffer as ArrayBuffer
      return true
    },
  }
}
