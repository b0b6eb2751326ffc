/**
 * Which libraries a Linux library (ELF, 64 bits, little-endian) is linked to, read from its dynamic section. It is not
 * loaded, and only some kilobytes of it are read. Layout: elf(5).
 */
import { closeSync, openSync, readSync } from 'node:fs'

const PROGRAM_HEADER_BYTES = 56
const [PT_LOAD, PT_DYNAMIC] = [1, 2]
const [DT_NEEDED, DT_STRTAB, DT_STRSZ] = [1, 5, 10]
/** No list of names is longer. */
const MOST_BYTES = 2 ** 26

interface Part {
  type: number
  offset: number
  address: number
  bytes: number
}

/** File names of the libraries that the loader needs for a library; empty where the file cannot be read as one. */
export function neededLibraries(file: string): string[] {
  let handle: number
  try {
    handle = openSync(file, 'r')
  } catch {
    return []
  }
  try {
    return readNeeded((offset, bytes) => {
      if (bytes > MOST_BYTES) throw new RangeError(`${bytes} bytes of names`)
      const out = Buffer.alloc(bytes)
      readSync(handle, out, 0, bytes, offset)
      return out
    })
  } catch (error) {
    if (error instanceof RangeError) return []
    throw error
  } finally {
    closeSync(handle)
  }
}

function readNeeded(read: (offset: number, bytes: number) => Buffer): string[] {
  const header = read(0, 64)
  const isElf64 = header.readUInt32BE(0) === 0x7f454c46 && header[4] === 2 && header[5] === 1
  if (!isElf64) return []
  const parts = readParts(read(Number(header.readBigUInt64LE(32)), header.readUInt16LE(56) * PROGRAM_HEADER_BYTES))
  const dynamic = parts.find(({ type }) => type === PT_DYNAMIC)
  if (!dynamic) return []
  const entries = readPairs(read(dynamic.offset, dynamic.bytes))
  const valueAt = (tag: number): number => entries.find(([at]) => at === tag)?.[1] ?? 0
  const address = valueAt(DT_STRTAB)
  const home = parts.find((p) => p.type === PT_LOAD && address >= p.address && address < p.address + p.bytes)
  if (!home) return []
  const names = read(home.offset + address - home.address, valueAt(DT_STRSZ))
  return entries
    .filter(([tag]) => tag === DT_NEEDED)
    .map(([, at]) => names.toString('latin1', at, names.indexOf(0, at)))
}

function readParts(bytes: Buffer): Part[] {
  return Array.from({ length: bytes.length / PROGRAM_HEADER_BYTES }, (_, i) => {
    const at = i * PROGRAM_HEADER_BYTES
    const word = (offset: number): number => Number(bytes.readBigUInt64LE(at + offset))
    return { type: bytes.readUInt32LE(at), offset: word(8), address: word(16), bytes: word(32) }
  })
}

/** Tag and value of each entry. */
function readPairs(bytes: Buffer): [number, number][] {
  return Array.from({ length: Math.floor(bytes.length / 16) }, (_, i) => [
    Number(bytes.readBigInt64LE(i * 16)),
    Number(bytes.readBigUInt64LE(i * 16 + 8)),
  ])
}
