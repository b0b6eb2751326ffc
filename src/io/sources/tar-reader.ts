/**
 * Members of a tar archive, by their headers: POSIX.1-1988 ustar, pax (names, sizes and sparse files of its
 * extended and global headers), GNU long names, V7. As GNU tar and Python's tarfile read them: checksums over
 * signed or unsigned bytes, no data behind links and folders whatever size they claim, and archives that were
 * joined by `cat` are read to their end. Names are bytes: they need not be UTF-8. Time is linear in the
 * archive, memory is one extended header.
 */
import { VtpError } from '../../errors.js'

const BLOCK = 512
/** Extended headers are read whole up to this size. */
const MAX_HEADER_BYTES = 1 << 20
/** Zeros behind the end of an archive in which another one is looked for, at most. */
const MOST_ZEROS = 64 * 2 ** 20

export interface TarMember {
  name: Buffer
  /** '0' (or NUL, '7') for files; see `isRegular`. */
  type: string
  offset: number
  size: number
  /** A file with holes, whose bytes are not those of the archive. */
  sparse: boolean
}

export function isRegular({ type }: TarMember): boolean {
  return type === '0' || type === '\0' || type === '7'
}

type Read = (offset: number, size: number) => Promise<Buffer>

/** What of extended headers is used. */
interface Pax {
  path?: Buffer
  size?: number
  sparse?: boolean
  sparseName?: Buffer
}

/**
 * Reads members' headers in order. Throws VtpError `tar_damaged` where the archive stops making sense;
 * `onTrailing` is told of bytes behind the end that are no archive.
 */
export async function* readTarMembers(
  read: Read,
  file: string,
  fileBytes: number,
  onTrailing: () => void = () => {},
): AsyncGenerator<TarMember> {
  const damaged = (what: string): VtpError => new VtpError(`${file}: ${what}`, { code: 'tar_damaged' })
  let own: Pax = {}
  let common: Pax = {}
  let longName: Buffer | undefined
  let ended = false
  for (let at = 0; ; ) {
    const block = await read(at, BLOCK)
    if (block.length === 0) return // no end marker, but nothing missing either
    if (block.length < BLOCK) {
      if (!ended) throw damaged(`the archive is cut off in a header at byte ${at}`)
      if (!isZero(block)) onTrailing()
      return
    }
    if (isZero(block)) {
      ended = true
      const next = await skipZeros(read, at + BLOCK)
      if (next === undefined) return
      at = next
      continue
    }
    if (!checksumOk(block)) {
      if (!ended) throw damaged(`no tar header at byte ${at}`)
      onTrailing()
      return
    }
    ended = false
    let type = String.fromCharCode(block[156]!)
    let size = readNumber(block, 124, 12)
    let start = at + BLOCK
    if (type === 'x' || type === 'g' || type === 'L' || type === 'K') {
      if (!(size >= 0 && size <= MAX_HEADER_BYTES) || start + size > fileBytes)
        throw damaged(`an extended header at byte ${at} claims ${size} bytes`)
      const data = await read(start, size)
      if (type === 'x') own = parsePax(data)
      else if (type === 'g') common = { ...common, ...parsePax(data) }
      else if (type === 'L') longName = untilNul(data)
      at = start + Math.ceil(size / BLOCK) * BLOCK
      continue
    }
    const pax: Pax = { ...common, ...own }
    const name = pax.sparseName ?? pax.path ?? longName ?? headerName(block)
    if (pax.size !== undefined) size = pax.size
    own = {}
    longName = undefined
    // A folder of old archives is a file whose name ends in a slash.
    if (type === '\0' && name.at(-1) === 0x2f) type = '5'
    if (/[1-6]/.test(type)) size = 0
    if (!Number.isSafeInteger(size) || size < 0) throw damaged(`a member at byte ${at} has no sensible size`)
    // Old GNU sparse files have more of their map in the blocks behind the header.
    if (type === 'S') {
      for (let more = block[482] !== 0; more; start += BLOCK) {
        const map = await read(start, BLOCK)
        if (map.length < BLOCK) throw damaged(`the archive is cut off in a header at byte ${start}`)
        more = map[504] !== 0
      }
    }
    if (start + size > fileBytes) throw damaged(`the archive is cut off in the member "${name.toString()}"`)
    yield { name, type, offset: start, size, sparse: type === 'S' || pax.sparse === true }
    at = start + Math.ceil(size / BLOCK) * BLOCK
  }
}

/** Where the next block with something in it lies; undefined for none. */
async function skipZeros(read: Read, from: number): Promise<number | undefined> {
  for (let at = from; at < from + MOST_ZEROS; at += BLOCK) {
    const block = await read(at, BLOCK)
    if (block.length === 0) return undefined
    if (!isZero(block)) return at
  }
  return undefined
}

const ZEROS = Buffer.alloc(BLOCK)

function isZero(block: Buffer): boolean {
  return block.equals(block.length === BLOCK ? ZEROS : ZEROS.subarray(0, block.length))
}

function untilNul(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0)
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end))
}

const POSIX_MAGIC = Buffer.from('ustar\0')

function headerName(block: Buffer): Buffer {
  const short = untilNul(block.subarray(0, 100))
  // GNU's own format has times where POSIX has the prefix.
  const prefix = block.subarray(257, 263).equals(POSIX_MAGIC) ? untilNul(block.subarray(345, 500)) : undefined
  return prefix && prefix.length > 0 ? Buffer.concat([prefix, Buffer.from('/'), short]) : short
}

/** Octal text, or GNU's base-256 for large values; NaN for anything else. */
function readNumber(block: Buffer, at: number, length: number): number {
  if (block[at]! & 0x80) {
    let value = block[at]! & 0x7f
    for (let i = 1; i < length; i++) value = value * 256 + block[at + i]!
    return value
  }
  const digits = untilNul(block.subarray(at, at + length))
    .toString('latin1')
    .trim()
  return digits === '' ? 0 : /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN
}

/** The sum of all bytes with blanks in the place of the sum; some old programs took bytes for signed numbers. */
function checksumOk(block: Buffer): boolean {
  const stored = readNumber(block, 148, 8)
  let unsigned = 0
  let signed = 0
  for (let i = 0; i < BLOCK; i++) {
    const byte = i >= 148 && i < 156 ? 32 : block[i]!
    unsigned += byte
    signed += byte > 127 ? byte - 256 : byte
  }
  return stored === unsigned || stored === signed
}

/** "LENGTH KEY=VALUE\n" records. */
function parsePax(data: Buffer): Pax {
  const out: Pax = {}
  for (let at = 0; at < data.length; ) {
    const space = data.indexOf(0x20, at)
    // A length has few digits; without a blank the rest would be read for each record.
    if (space < 0 || space - at > 10) break
    const length = Number(data.toString('latin1', at, space))
    if (!Number.isSafeInteger(length) || length <= space - at || at + length > data.length) break
    const equals = data.indexOf(0x3d, space)
    if (equals > 0 && equals < at + length) {
      const key = data.toString('latin1', space + 1, equals)
      const value = data.subarray(equals + 1, at + length - 1)
      if (key === 'path') out.path = untilNul(value)
      else if (key === 'size') out.size = paxNumber(value)
      else if (key === 'GNU.sparse.name') out.sparseName = untilNul(value)
      if (key.startsWith('GNU.sparse.')) out.sparse = true
    }
    at += length
  }
  return out
}

function paxNumber(value: Buffer): number {
  const text = value.toString('latin1')
  return /^\d+$/.test(text) ? Number(text) : Number.NaN
}
