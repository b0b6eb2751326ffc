/** Checksums as object storage has them in its headers: base64 of their bytes, most significant first. */
import { createHash } from 'node:crypto'
import zlib from 'node:zlib'

/** Polynomials by name, least significant bit first. */
const CRC32C = 0x82f63b78
const CRC64NVME = { high: 0x9a6c9329, low: 0xac4bc9b5 }

function crc32cTable(): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, byte) => {
    let value = byte
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ CRC32C : value >>> 1
    return value
  })
}

/** High and low words of each byte's remainder. */
function crc64Tables(): { high: Uint32Array; low: Uint32Array } {
  const high = new Uint32Array(256)
  const low = new Uint32Array(256)
  for (let byte = 0; byte < 256; byte++) {
    let [h, l] = [0, byte]
    for (let bit = 0; bit < 8; bit++) {
      const odd = l & 1
      l = (l >>> 1) | (h << 31)
      h >>>= 1
      if (odd) [h, l] = [h ^ CRC64NVME.high, l ^ CRC64NVME.low]
    }
    high[byte] = h
    low[byte] = l
  }
  return { high, low }
}

let table32: Uint32Array | undefined
let tables64: ReturnType<typeof crc64Tables> | undefined

function crc32c(bytes: Uint8Array): Buffer {
  table32 ??= crc32cTable()
  let crc = -1
  for (let i = 0; i < bytes.length; i++) crc = table32[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8)
  const out = Buffer.alloc(4)
  out.writeUInt32BE(~crc >>> 0)
  return out
}

function crc64nvme(bytes: Uint8Array): Buffer {
  tables64 ??= crc64Tables()
  const { high, low } = tables64
  let h = -1
  let l = -1
  for (let i = 0; i < bytes.length; i++) {
    const at = (l ^ bytes[i]!) & 0xff
    l = ((l >>> 8) | (h << 24)) ^ low[at]!
    h = (h >>> 8) ^ high[at]!
  }
  const out = Buffer.alloc(8)
  out.writeUInt32BE(~h >>> 0, 0)
  out.writeUInt32BE(~l >>> 0, 4)
  return out
}

/** Base64 of a checksum by its name in the header; undefined for one that is not known here. */
export function checksumOf(algorithm: string, bytes: Uint8Array): string | undefined {
  switch (algorithm) {
    case 'crc32': {
      const out = Buffer.alloc(4)
      out.writeUInt32BE(zlib.crc32(bytes))
      return out.toString('base64')
    }
    case 'crc32c':
      return crc32c(bytes).toString('base64')
    case 'crc64nvme':
      return crc64nvme(bytes).toString('base64')
    case 'sha1':
    case 'sha256':
      return createHash(algorithm).update(bytes).digest('base64')
    default:
      return undefined
  }
}
