/**
 * Reading zip containers by position: PyTorch's `.pt`/`.pth` (members are stored) and NumPy's `.npz`
 * (stored or deflated). The central directory is read once; members are read by range, never unpacked to
 * disk, and their names never become paths. Format: PKWARE APPNOTE.TXT, sections 4.3 and 4.5.3 (zip64).
 */
import { type FileHandle, open } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { crc32, createInflateRaw } from 'node:zlib'
import { VtpError } from '../errors.js'
import { readFully } from './read-fully.js'

export interface ZipMember {
  name: string
  method: 'stored' | 'deflated'
  /** Absolute position of the member's (possibly compressed) data. */
  offset: number
  compressedBytes: number
  bytes: number
  /** CRC-32 of the data as they were before compression. */
  crc: number
}

const END_BYTES = 22
const MAX_COMMENT = 0xffff
const MAX_DIRECTORY_BYTES = 100_000_000

function damaged(file: string, what: string): VtpError {
  return new VtpError(`${file} is not a valid zip container: ${what}`, {
    code: 'bad_zip',
    suggestions: ['download or copy the file again: it may be truncated'],
  })
}

async function readAt(handle: FileHandle, file: string, position: number, bytes: number): Promise<Buffer> {
  const out = Buffer.alloc(bytes)
  if (!(await readFully(handle, out, position))) throw damaged(file, 'it ends early')
  return out
}

/** Whether the file begins as a zip does. */
export async function isZip(handle: FileHandle): Promise<boolean> {
  const head = Buffer.alloc(4)
  return (await readFully(handle, head, 0)) && head.readUInt32LE() === 0x04034b50
}

/** Position, size and entry count of the central directory. */
async function findDirectory(handle: FileHandle, file: string, size: number) {
  const tailBytes = Math.min(size, END_BYTES + MAX_COMMENT)
  const tail = await readAt(handle, file, size - tailBytes, tailBytes)
  let at = tailBytes - END_BYTES
  while (at >= 0 && tail.readUInt32LE(at) !== 0x06054b50) at--
  if (at < 0) throw damaged(file, 'its directory, at the end, is missing')
  let count = tail.readUInt16LE(at + 10)
  let bytes = tail.readUInt32LE(at + 12)
  let offset = tail.readUInt32LE(at + 16)
  const locator = at - 20
  if (locator >= 0 && tail.readUInt32LE(locator) === 0x07064b50) {
    const position = Number(tail.readBigUInt64LE(locator + 8))
    if (position + 56 > size) throw damaged(file, 'its zip64 directory lies outside of the file')
    const end64 = await readAt(handle, file, position, 56)
    if (end64.readUInt32LE(0) !== 0x06064b50) throw damaged(file, 'its zip64 directory is missing')
    count = Number(end64.readBigUInt64LE(32))
    bytes = Number(end64.readBigUInt64LE(40))
    offset = Number(end64.readBigUInt64LE(48))
  }
  if (bytes > MAX_DIRECTORY_BYTES) throw damaged(file, `its directory claims ${bytes} bytes`)
  if (offset + bytes > size) throw damaged(file, 'its directory lies outside of the file')
  return { count, bytes, offset }
}

/** The members by name, sizes and positions checked against the file. Throws VtpError `bad_zip`. */
export async function readZipDirectory(handle: FileHandle, file: string): Promise<Map<string, ZipMember>> {
  const { size } = await handle.stat()
  const { count, bytes, offset } = await findDirectory(handle, file, size)
  const directory = await readAt(handle, file, offset, bytes)
  const members = new Map<string, ZipMember>()
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + 46 > bytes || directory.readUInt32LE(at) !== 0x02014b50) throw damaged(file, `entry ${i} is malformed`)
    const from = at
    const flags = directory.readUInt16LE(at + 8)
    const method = directory.readUInt16LE(at + 10)
    const nameBytes = directory.readUInt16LE(at + 28)
    const extraBytes = directory.readUInt16LE(at + 30)
    const next = at + 46 + nameBytes + extraBytes + directory.readUInt16LE(at + 32)
    if (next > bytes) throw damaged(file, `entry ${i} is malformed`)
    const name = directory.toString('utf8', at + 46, at + 46 + nameBytes)
    const sizes = {
      bytes: directory.readUInt32LE(at + 24),
      compressedBytes: directory.readUInt32LE(at + 20),
      header: directory.readUInt32LE(at + 42),
    }
    widen(directory.subarray(at + 46 + nameBytes, at + 46 + nameBytes + extraBytes), sizes)
    at = next
    if (name.endsWith('/')) continue
    if (flags & 1) throw damaged(file, `"${name}" is encrypted`)
    if (method !== 0 && method !== 8) throw damaged(file, `"${name}" is compressed by method ${method}`)
    if (members.has(name)) throw damaged(file, `"${name}" is in it twice`)
    if (sizes.header + 30 > size) throw damaged(file, `"${name}" lies outside of the file`)
    const local = await readAt(handle, file, sizes.header, 30)
    if (local.readUInt32LE(0) !== 0x04034b50) throw damaged(file, `"${name}" has no header`)
    const start = sizes.header + 30 + local.readUInt16LE(26) + local.readUInt16LE(28)
    if (start + sizes.compressedBytes > size) throw damaged(file, `"${name}" lies outside of the file`)
    if (method === 0 && sizes.bytes !== sizes.compressedBytes) throw damaged(file, `the sizes of "${name}" disagree`)
    members.set(name, {
      name,
      method: method === 0 ? 'stored' : 'deflated',
      offset: start,
      compressedBytes: sizes.compressedBytes,
      bytes: sizes.bytes,
      crc: directory.readUInt32LE(from + 16),
    })
  }
  return members
}

/** Replaces fields that overflowed 32 bits by those of the zip64 extra field. */
function widen(extra: Buffer, sizes: { bytes: number; compressedBytes: number; header: number }): void {
  for (let at = 0; at + 4 <= extra.length; ) {
    const length = extra.readUInt16LE(at + 2)
    if (extra.readUInt16LE(at) === 1) {
      let field = at + 4
      for (const key of ['bytes', 'compressedBytes', 'header'] as const) {
        if (sizes[key] !== 0xffffffff || field + 8 > at + 4 + length || field + 8 > extra.length) continue
        sizes[key] = Number(extra.readBigUInt64LE(field))
        field += 8
      }
    }
    at += 4 + length
  }
}

/** A member's bytes as a stream of chunks, inflated where needed. */
export function streamZipMember(handle: FileHandle, file: string, member: ZipMember): AsyncIterable<Buffer> {
  const raw = rangeChunks(handle, file, member.offset, member.compressedBytes)
  return member.method === 'stored' ? raw : inflate(raw, file, member)
}

async function* rangeChunks(handle: FileHandle, file: string, offset: number, bytes: number): AsyncGenerator<Buffer> {
  for (let done = 0; done < bytes; done += 1 << 20)
    yield await readAt(handle, file, offset + done, Math.min(1 << 20, bytes - done))
}

async function* inflate(raw: AsyncIterable<Buffer>, file: string, member: ZipMember): AsyncGenerator<Buffer> {
  let total = 0
  const stream = Readable.from(raw).pipe(createInflateRaw())
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      total += chunk.length
      if (total > member.bytes) throw damaged(file, `"${member.name}" is larger than its directory says`)
      yield chunk
    }
  } catch (error) {
    throw error instanceof VtpError ? error : damaged(file, `"${member.name}" is damaged (${(error as Error).message})`)
  }
  if (total !== member.bytes) throw damaged(file, `"${member.name}" is smaller than its directory says`)
}

/** A whole member. */
export async function readZipMember(handle: FileHandle, file: string, member: ZipMember): Promise<Buffer> {
  if (member.method === 'stored') return readAt(handle, file, member.offset, member.bytes)
  const chunks: Buffer[] = []
  for await (const chunk of streamZipMember(handle, file, member)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Reads every member of a zip file and compares its checksum. Throws VtpError `bad_zip` for the first one that differs. */
export async function checkZip(file: string): Promise<void> {
  const handle = await open(file)
  try {
    for (const member of (await readZipDirectory(handle, file)).values()) {
      let sum = 0
      for await (const chunk of streamZipMember(handle, file, member)) sum = crc32(chunk, sum)
      if (sum !== member.crc) throw damaged(file, `the checksum of "${member.name}" is another one`)
    }
  } finally {
    await handle.close()
  }
}
