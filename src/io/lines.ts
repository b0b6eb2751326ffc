/** Bytes → lines with their places, for files of any length. Line ends are \n or \r\n. */

export interface Line {
  text: string
  /** Byte range without the line end. */
  offset: number
  bytes: number
}

export async function* readLines(input: AsyncIterable<Uint8Array | string>): AsyncGenerator<Line> {
  let rest: Buffer = Buffer.alloc(0)
  let offset = 0
  const toLine = (bytes: Buffer): Line => {
    const end = bytes.at(-1) === 13 ? bytes.length - 1 : bytes.length
    return { text: bytes.toString('utf8', 0, end), offset, bytes: end }
  }
  for await (const chunk of input) {
    const bytes =
      typeof chunk === 'string' ? Buffer.from(chunk) : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
    rest = rest.length > 0 ? Buffer.concat([rest, bytes]) : bytes
    let from = 0
    for (let to = rest.indexOf(10); to >= 0; to = rest.indexOf(10, from)) {
      yield toLine(rest.subarray(from, to))
      offset += to + 1 - from
      from = to + 1
    }
    rest = rest.subarray(from)
  }
  if (rest.length > 0) yield toLine(rest)
}
