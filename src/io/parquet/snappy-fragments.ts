/**
 * Ranges of a large Snappy block, without decompressing it as a whole. Compressors take 64 KiB at a time, and no
 * reference leads out of these (the format's description, "Compressed stream": https://github.com/google/snappy,
 * format_description.txt, allows others): each such fragment can be decompressed alone.
 */
import { decompressors } from './decompressors.js'

const FRAGMENT_BYTES = 2 ** 16
const WINDOW_BYTES = 2 ** 16
/** What is read where a literal has been passed over: more of them may follow. */
const JUMP_BYTES = 2 ** 10
/** An element's tag with its longest length or offset. */
const TAG_BYTES = 5

/**
 * Where each fragment of a block begins, and the end of the last one, in bytes from the block's start. Undefined where
 * fragments depend on each other, or the block is damaged. `read` reads from the block, which has `size` bytes.
 */
export async function snappyFragments(
  read: (offset: number, size: number) => Promise<Uint8Array>,
  size: number,
  uncompressedSize: number,
): Promise<number[] | undefined> {
  let window = await read(0, Math.min(WINDOW_BYTES, size))
  let windowStart = 0
  let at = 0
  let length = 0
  for (let shift = 0; shift < 35; shift += 7) {
    const byte = window[at++] ?? 0
    length += (byte & 0x7f) * 2 ** shift
    if (byte < 0x80) break
  }
  if (length !== uncompressedSize) return undefined
  const starts: number[] = []
  for (let done = 0; done < uncompressedSize; ) {
    const within = done % FRAGMENT_BYTES
    if (within === 0) starts.push(at)
    if (at >= size) return undefined
    if (at < windowStart || Math.min(at + TAG_BYTES, size) > windowStart + window.length) {
      const isJump = at > windowStart + window.length
      windowStart = at
      window = await read(at, Math.min(isJump ? JUMP_BYTES : WINDOW_BYTES, size - at))
    }
    const element = readElement(window, at - windowStart)
    if (element.offset > within || within + element.length > FRAGMENT_BYTES) return undefined
    at += element.size
    done += element.length
    if (done > uncompressedSize) return undefined
  }
  if (at !== size) return undefined
  starts.push(at)
  return starts
}

/** Bytes of the element in the block, bytes that it makes, and how far back it refers (0 for a literal). */
function readElement(bytes: Uint8Array, at: number): { size: number; length: number; offset: number } {
  const byte = (i: number): number => bytes[at + i] ?? 0
  // A reference to 0 bytes before is none that a block may hold.
  const back = (offset: number): number => offset || Number.POSITIVE_INFINITY
  const tag = byte(0)
  const upper = tag >> 2
  switch (tag & 3) {
    case 0: {
      const extra = Math.max(0, upper - 59)
      let length = extra === 0 ? upper : 0
      for (let i = 0; i < extra; i++) length += byte(1 + i) * 256 ** i
      return { size: 1 + extra + length + 1, length: length + 1, offset: 0 }
    }
    case 1:
      return { size: 2, length: (upper & 7) + 4, offset: back((tag >> 5) * 256 + byte(1)) }
    case 2:
      return { size: 3, length: upper + 1, offset: back(byte(1) + byte(2) * 256) }
    default:
      return {
        size: 5,
        length: upper + 1,
        offset: back(byte(1) + byte(2) * 256 + byte(3) * 2 ** 16 + byte(4) * 2 ** 24),
      }
  }
}

/** Bytes `offset` to `offset + size` of what the block holds. `fragments` are those of `snappyFragments`. */
export async function readSnappyRange(
  read: (offset: number, size: number) => Promise<Uint8Array>,
  { fragments, uncompressedSize }: { fragments: number[]; uncompressedSize: number },
  offset: number,
  size: number,
): Promise<Uint8Array> {
  const first = Math.floor(offset / FRAGMENT_BYTES)
  const last = Math.ceil((offset + size) / FRAGMENT_BYTES)
  const start = fragments[first]!
  const elements = await read(start, fragments[last]! - start)
  const from = first * FRAGMENT_BYTES
  const length = Math.min(last * FRAGMENT_BYTES, uncompressedSize) - from
  return decompressors.SNAPPY!(withLength(elements, length), length).subarray(offset - from, offset - from + size)
}

/** Elements as a block of their own: the length that they make comes first. */
function withLength(elements: Uint8Array, length: number): Uint8Array {
  const preamble: number[] = []
  let rest = length
  for (; rest >= 0x80; rest >>= 7) preamble.push((rest & 0x7f) | 0x80)
  preamble.push(rest)
  return Buffer.concat([Buffer.from(preamble), elements])
}
