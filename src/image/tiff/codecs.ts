/**
 * Compressions of TIFF segments whose result is exact by nature: none, PackBits, LZW, deflate, Zstandard.
 * Every decoder stops at the bytes that the segment needs, so that a bomb costs no more than the image that its
 * header declares, and throws an Error where there are fewer: libtiff refuses such segments, too.
 * Formats: TIFF 6.0, sections 9 and 13; RFC 1950; RFC 8878.
 */
import { createInflate, inflateSync } from 'node:zlib'
import { Decompress } from 'fzstd'
import { unsupported } from './layout.js'

const tooShort = (): Error => new Error('a segment of the TIFF file ends before its last pixel')

/** Decodes one segment to `size` bytes. Undefined: this compression is none of those. */
export async function decodeSegment(
  compression: number,
  segment: Uint8Array,
  size: number,
): Promise<Uint8Array | undefined> {
  switch (compression) {
    case 1:
      if (segment.length < size) throw tooShort()
      return segment.subarray(0, size)
    case 5:
      return decodeLzw(segment, size)
    case 8:
    case 32946:
      return inflate(segment, size)
    case 32773:
      return decodePackBits(segment, size)
    case 50000:
      return decodeZstd(segment, size)
    default:
      return undefined
  }
}

function decodePackBits(segment: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(size)
  let at = 0
  for (let done = 0; done < size; ) {
    const code = segment[at++]
    if (code === undefined) throw tooShort()
    if (code === 128) continue
    if (code > 128) {
      const value = segment[at++]
      if (value === undefined) throw tooShort()
      out.fill(value, done, done + 257 - code)
      done += 257 - code
    } else {
      const run = segment.subarray(at, at + Math.min(code + 1, size - done))
      if (run.length < Math.min(code + 1, size - done)) throw tooShort()
      out.set(run, done)
      done += run.length
      at += code + 1
    }
  }
  return out
}

const [CLEAR, END, FIRST_FREE, MAX_CODES] = [256, 257, 258, 4096]

/** Codes of 9 to 12 bits, most significant bit first, one code earlier than GIF. */
function decodeLzw(segment: Uint8Array, size: number): Uint8Array {
  if (segment[0] === 0 && (segment[1] ?? 0) & 1) throw unsupported('LZW of the kind before TIFF 5.0')
  const out = new Uint8Array(size)
  // Every entry is a stretch of the output: the previous code's, and one byte more.
  const starts = new Int32Array(MAX_CODES)
  const lengths = new Int32Array(MAX_CODES)
  let [bits, next, previousAt, previousLength, buffer, available, at, done] = [9, FIRST_FREE, 0, 0, 0, 0, 0, 0]
  while (done < size) {
    while (available < bits) {
      if (at >= segment.length) throw tooShort()
      buffer = ((buffer << 8) | segment[at++]!) & 0xffffff
      available += 8
    }
    available -= bits
    const code = (buffer >> available) & ((1 << bits) - 1)
    if (code === END) throw tooShort()
    if (code === CLEAR) {
      ;[bits, next, previousLength] = [9, FIRST_FREE, 0]
      continue
    }
    const here = done
    if (previousLength > 0 && next < MAX_CODES) {
      starts[next] = previousAt
      lengths[next] = previousLength + 1
      next++
      if (next >= (1 << bits) - 1 && bits < 12) bits++
    }
    if (code < CLEAR) out[done++] = code
    else {
      if (code >= next || previousLength === 0)
        throw new Error('a segment of the TIFF file has an LZW code that is not defined')
      const from = starts[code]!
      const length = Math.min(lengths[code]!, size - done)
      // Byte by byte: the newest entry ends with the byte that it begins with, which is written first.
      for (let i = 0; i < length; i++) out[done++] = out[from + i]!
    }
    previousAt = here
    previousLength = done - here
  }
  return out
}

/** Small segments are many: a stream for each would cost more than their bytes. */
const SMALL_BYTES = 1 << 18

function inflate(segment: Uint8Array, size: number): Uint8Array | Promise<Uint8Array> {
  if (size <= SMALL_BYTES) {
    try {
      const all = inflateSync(segment, { maxOutputLength: size })
      if (all.length === size) return all
    } catch {
      // Too long or damaged: the stream says what is needed and is sound.
    }
  }
  return inflateStream(segment, size)
}

/** What follows the needed bytes, a wrong checksum for example, does not matter: libtiff does not read it. */
function inflateStream(segment: Uint8Array, size: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const out = new Uint8Array(size)
    let done = 0
    const stream = createInflate({ chunkSize: Math.min(1 << 20, Math.max(1024, size)) })
    stream.on('data', (chunk: Buffer) => {
      if (done === size) return
      out.set(chunk.subarray(0, size - done), done)
      done += Math.min(chunk.length, size - done)
      if (done === size) {
        resolve(out)
        stream.destroy()
      }
    })
    stream.on('error', (error) => reject(new Error(`a segment of the TIFF file: ${error.message}`)))
    stream.on('end', () => reject(tooShort()))
    stream.end(segment)
  })
}

/** The largest window that libzstd's streams take unasked. */
const MAX_WINDOW_BYTES = 128 << 20
const PIECE_BYTES = 16 << 10

function decodeZstd(segment: Uint8Array, size: number): Uint8Array {
  if (zstdWindow(segment) > MAX_WINDOW_BYTES) throw unsupported('a Zstandard window of more than 128 MiB')
  const out = new Uint8Array(size)
  let done = 0
  const stream = new Decompress((chunk) => {
    const part = chunk.subarray(0, size - done)
    out.set(part, done)
    done += part.length
  })
  try {
    for (let at = 0; at < segment.length && done < size; at += PIECE_BYTES) {
      stream.push(segment.subarray(at, at + PIECE_BYTES), at + PIECE_BYTES >= segment.length)
    }
  } catch (error) {
    if (done < size) throw new Error(`a segment of the TIFF file: ${error instanceof Error ? error.message : error}`)
  }
  if (done < size) throw tooShort()
  return out
}

/** Bytes of history that a frame asks for. */
function zstdWindow(frame: Uint8Array): number {
  const descriptor = frame[4] ?? 0
  if (!(descriptor & 0x20)) {
    const exponent = (frame[5] ?? 0) >> 3
    return 2 ** (10 + exponent) * (1 + ((frame[5] ?? 0) & 7) / 8)
  }
  const at = 5 + [0, 1, 2, 4][descriptor & 3]!
  const bytes = [1, 2, 4, 8][descriptor >> 6]!
  let content = 0
  for (let i = bytes - 1; i >= 0; i--) content = content * 256 + (frame[at + i] ?? 0)
  return content
}
