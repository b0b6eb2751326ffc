/**
 * Bytes → lines with their places, for files of any length, in UTF-8 or UTF-16. Line ends are \n or \r\n; a
 * byte order mark is not part of the first line.
 */
import { isUtf8 } from 'node:buffer'
import { decodeText, type TextEncoding, textEncoding } from './decode-text.js'

export interface Line {
  text: string
  /** The line's bytes where they are neither UTF-8 nor UTF-16. */
  raw?: Buffer
  /** Byte range without the line end. */
  offset: number
  bytes: number
}

/** Bytes that tell the encoding. */
const MARK_BYTES = 4

export async function* readLines(input: AsyncIterable<Uint8Array | string>): AsyncGenerator<Line> {
  let rest: Buffer = Buffer.alloc(0)
  let offset = 0
  let encoding: TextEncoding | undefined
  const toLine = (bytes: Buffer, known: TextEncoding): Line => {
    const end = lineBytes(bytes, known)
    const line = bytes.subarray(0, end)
    const text = known === 'utf-8' && offset > 0 ? line.toString('utf8') : decodeText(line, known)
    return { text, offset, bytes: end, ...(known === 'utf-8' && !isUtf8(line) ? { raw: Buffer.from(line) } : {}) }
  }
  for await (const chunk of input) {
    const bytes =
      typeof chunk === 'string' ? Buffer.from(chunk) : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
    rest = rest.length > 0 ? Buffer.concat([rest, bytes]) : bytes
    if (encoding === undefined && rest.length < MARK_BYTES) continue
    encoding ??= textEncoding(rest)
    let from = 0
    for (let to = findLineEnd(rest, encoding, from); to >= 0; to = findLineEnd(rest, encoding, from)) {
      yield toLine(rest.subarray(from, to), encoding)
      const end = to + unitBytes(encoding)
      offset += end - from
      from = end
    }
    rest = rest.subarray(from)
  }
  encoding ??= textEncoding(rest)
  // A short text that no chunk was long enough for.
  for (let to = findLineEnd(rest, encoding, 0); to >= 0; to = findLineEnd(rest, encoding, 0)) {
    yield toLine(rest.subarray(0, to), encoding)
    offset += to + unitBytes(encoding)
    rest = rest.subarray(to + unitBytes(encoding))
  }
  if (rest.length > 0) yield toLine(rest, encoding)
}

function unitBytes(encoding: TextEncoding): number {
  return encoding === 'utf-8' ? 1 : 2
}

/** Where the next \n begins; −1 for none. */
function findLineEnd(bytes: Buffer, encoding: TextEncoding, from: number): number {
  if (encoding === 'utf-8') return bytes.indexOf(10, from)
  const low = encoding === 'utf-16le' ? 0 : 1
  // Of a pair of bytes the low one is 10 and the other one 0; pairs begin at even places.
  for (let at = bytes.indexOf(10, from); at >= 0 && at + 1 - low < bytes.length; at = bytes.indexOf(10, at + 1)) {
    const start = at - low
    if ((start - from) % 2 === 0 && bytes[start + 1 - low] === 0) return start
  }
  return -1
}

/** Without a \r at the end. */
function lineBytes(line: Buffer, encoding: TextEncoding): number {
  const { length } = line
  if (encoding === 'utf-8') return line.at(-1) === 13 ? length - 1 : length
  const [high, low] = encoding === 'utf-16le' ? [line.at(-1), line.at(-2)] : [line.at(-2), line.at(-1)]
  return high === 0 && low === 13 ? length - 2 : length
}
