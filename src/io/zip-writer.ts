/**
 * Writing zip containers of stored members, front to back: a member is written once its bytes are known, so that
 * memory stays near the largest one. Sizes and positions beyond 32 bits are in zip64 fields, and only there are any:
 * small containers have the same bytes as ever. Format: PKWARE APPNOTE.TXT, sections 4.3 and 4.5.3.
 */
import { crc32 } from 'node:zlib'

/** torch maps storages into memory, so their data starts at a multiple of 64. */
const ALIGN = 64
/** Numbers from here on do not fit the classic fields. */
const WIDE = 0xffffffff
const MANY = 0xffff

const LE = (value: number, bytes: number): Buffer => {
  const out = Buffer.alloc(bytes)
  if (bytes === 8) out.writeBigUInt64LE(BigInt(value))
  else out.writeUIntLE(value, 0, bytes)
  return out
}

export interface ZipWriter {
  /** Writes a member. */
  add(name: string, data: Uint8Array): Promise<void>
  /** Writes the directory. Nothing may be added afterwards. */
  finish(): Promise<void>
}

/** `write` gets the container's bytes in order. `from` is the position of the first one (for tests of large containers). */
export function openZipWriter(write: (bytes: Uint8Array) => void | Promise<void>, from = 0): ZipWriter {
  const directory: Buffer[] = []
  let offset = from
  const put = async (bytes: Uint8Array): Promise<void> => {
    await write(bytes)
    offset += bytes.length
  }
  return {
    async add(name, data) {
      const at = offset
      const { head, entry } = describeMember(name, data, at)
      directory.push(entry)
      await put(head)
      await put(data)
    },
    async finish() {
      const start = offset
      const central = Buffer.concat(directory)
      await put(central)
      await put(endOf(directory.length, central.length, start, offset))
    },
  }
}

/** The container as one buffer. */
export function zipStored(files: [string, Uint8Array][]): Buffer {
  const parts: Uint8Array[] = []
  const directory: Buffer[] = []
  let offset = 0
  for (const [name, data] of files) {
    const { head, entry } = describeMember(name, data, offset)
    directory.push(entry)
    parts.push(head, data)
    offset += head.length + data.length
  }
  const central = Buffer.concat(directory)
  return Buffer.concat([...parts, central, endOf(files.length, central.length, offset, offset + central.length)])
}

/** The local header of a member at `offset`, and its entry of the directory. */
function describeMember(name: string, data: Uint8Array, offset: number): { head: Buffer; entry: Buffer } {
  const nameBytes = Buffer.from(name)
  const isWide = data.length >= WIDE
  const sizes = isWide ? [LE(WIDE, 4), LE(WIDE, 4)] : [LE(data.length, 4), LE(data.length, 4)]
  const wideSizes = [LE(data.length, 8), LE(data.length, 8)]
  const localWide = isWide ? Buffer.concat([LE(1, 2), LE(16, 2), ...wideSizes]) : Buffer.alloc(0)
  // Padding travels as an extra field ("FB", as torch's own), of at least its 4-byte head.
  const bare = offset + 30 + nameBytes.length + localWide.length + 4
  const padding = (ALIGN - (bare % ALIGN)) % ALIGN
  const extra = Buffer.concat([localWide, Buffer.from('FB'), LE(padding, 2), Buffer.alloc(padding, 'Z')])
  const common = (version: number): Buffer =>
    Buffer.concat([
      LE(version, 2),
      LE(0, 2), // flags
      LE(0, 2), // stored
      LE(0, 2), // time
      LE(0x21, 2), // 1980-01-01
      LE(crc32(data), 4),
      ...sizes,
      LE(nameBytes.length, 2),
    ])
  const isFar = offset >= WIDE
  const version = isWide || isFar ? 45 : 20
  const wide = [...(isWide ? wideSizes : []), ...(isFar ? [LE(offset, 8)] : [])]
  const fields = Buffer.concat(wide)
  const centralExtra = wide.length > 0 ? Buffer.concat([LE(1, 2), LE(fields.length, 2), fields]) : fields
  return {
    head: Buffer.concat([Buffer.from('PK\x03\x04'), common(isWide ? 45 : 20), LE(extra.length, 2), nameBytes, extra]),
    entry: Buffer.concat([
      Buffer.from('PK\x01\x02'),
      LE(version, 2),
      common(version),
      LE(centralExtra.length, 2),
      LE(0, 2), // comment
      LE(0, 2), // disk
      LE(0, 2), // internal attributes
      LE(0, 4), // external attributes
      LE(Math.min(offset, WIDE), 4),
      nameBytes,
      centralExtra,
    ]),
  }
}

/** What stands at the end of a container whose directory begins at `start` and ends at `end`. */
function endOf(count: number, bytes: number, start: number, end: number): Buffer {
  const classic = Buffer.concat([
    Buffer.from('PK\x05\x06'),
    LE(0, 4),
    LE(Math.min(count, MANY), 2),
    LE(Math.min(count, MANY), 2),
    LE(Math.min(bytes, WIDE), 4),
    LE(Math.min(start, WIDE), 4),
    LE(0, 2),
  ])
  if (count < MANY && bytes < WIDE && start < WIDE) return classic
  const wide = Buffer.concat([
    Buffer.from('PK\x06\x06'),
    LE(44, 8), // bytes that follow
    LE(45, 2),
    LE(45, 2),
    LE(0, 4),
    LE(0, 4),
    LE(count, 8),
    LE(count, 8),
    LE(bytes, 8),
    LE(start, 8),
  ])
  const locator = Buffer.concat([Buffer.from('PK\x06\x07'), LE(0, 4), LE(end, 8), LE(1, 4)])
  return Buffer.concat([wide, locator, classic])
}
