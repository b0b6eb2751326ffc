/**
 * PBM, PGM and PPM, plain and binary (P1 to P6), as Pillow 12 reads them (src/PIL/PpmImagePlugin.py) after
 * convert('RGB'): samples are scaled to their maximum, grey of more than 8 bits to 65535 and then clipped at 255.
 * Comments join what stands before and behind them, as they do there.
 * Format: the netpbm manual pages.
 */
import type { RgbImage } from '../types.js'
import { roundHalfEven } from './round.js'

const isSpace = (byte: number): boolean => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d)
const [HASH, NEWLINE, RETURN, ZERO] = [0x23, 0x0a, 0x0d, 0x30]
const truncated = (): Error => new Error('the PPM file ends before its last pixel')

/** Throws an Error for anything that Pillow does not read. */
export function decodePpm(bytes: Uint8Array, checkSize: (width: number, height: number) => void): RgbImage {
  const kind = bytes[1]! - ZERO
  const header = new HeaderReader(bytes)
  const [width, height] = [header.number(), header.number()]
  const isBitmap = kind === 1 || kind === 4
  const most = isBitmap ? 1 : header.number()
  if (most < 1 || most > 65535) throw new Error(`the PPM file has ${most} as its largest value`)
  checkSize(width, height)
  const channels = kind === 3 || kind === 6 ? 3 : 1
  const data = new Uint8Array(width * height * 3)
  const shades = shadesOf(most, channels, isBitmap)
  const put = (i: number, value: number): void => {
    const shade = shades[Math.min(value, most)]!
    if (channels === 3) data[i] = shade
    else data.fill(shade, 3 * i, 3 * i + 3)
  }
  const body = bytes.subarray(header.at)
  if (kind === 4) readBits(body, width, height, put)
  else if (kind === 1) readPlainBits(body, width * height, put)
  else if (kind <= 3) readPlain(body, width * height * channels, most, put)
  else readBinary(body, width * height * channels, most, put)
  return { data, width, height }
}

class HeaderReader {
  at = 3
  constructor(readonly bytes: Uint8Array) {}

  /** The next number; one byte of white space behind it is read, too. */
  number(): number {
    let token = ''
    while (token.length <= 10) {
      const byte = this.bytes[this.at++]
      if (byte === undefined) break
      if (byte === HASH) {
        while (this.at <= this.bytes.length && ![NEWLINE, RETURN].includes(this.bytes[this.at++] ?? NEWLINE));
      } else if (!isSpace(byte)) token += String.fromCharCode(byte)
      else if (token) break
    }
    if (!/^\+?\d{1,10}$/.test(token)) throw new Error('the PPM file has a header that cannot be read')
    return Number(token)
  }
}

/** 8-bit value of every sample. */
function shadesOf(most: number, channels: number, isBitmap: boolean): Uint8Array {
  if (isBitmap) return Uint8Array.of(255, 0)
  const range = channels === 1 && most > 255 ? 65535 : 255
  return Uint8Array.from({ length: most + 1 }, (_, i) => Math.min(255, roundHalfEven((i / most) * range)))
}

type Put = (index: number, value: number) => void

function readBits(body: Uint8Array, width: number, height: number, put: Put): void {
  const stride = Math.ceil(width / 8)
  if (body.length < stride * height) throw truncated()
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) put(y * width + x, (body[y * stride + (x >> 3)]! >> (7 - (x & 7))) & 1)
  }
}

function readBinary(body: Uint8Array, count: number, most: number, put: Put): void {
  const wide = most > 255
  if (body.length < (wide ? 2 * count : count)) throw truncated()
  for (let i = 0; i < count; i++) put(i, wide ? (body[2 * i]! << 8) | body[2 * i + 1]! : body[i]!)
}

/** Digits without white space between them are pixels, too. */
function readPlainBits(body: Uint8Array, count: number, put: Put): void {
  let done = 0
  for (const byte of withoutComments(body)) {
    if (isSpace(byte)) continue
    if (byte !== ZERO && byte !== ZERO + 1) throw new Error('the PBM file has a pixel that is neither 0 nor 1')
    if (done < count) put(done++, byte - ZERO)
  }
  if (done < count) throw truncated()
}

function readPlain(body: Uint8Array, count: number, most: number, put: Put): void {
  let [done, value, digits] = [0, 0, 0]
  const end = (): void => {
    if (digits === 0) return
    if (value > most) throw new Error(`the PPM file has the value ${value}, more than its largest, ${most}`)
    put(done++, value)
    ;[value, digits] = [0, 0]
  }
  for (const byte of withoutComments(body)) {
    if (isSpace(byte)) end()
    else {
      if (byte < ZERO || byte > ZERO + 9) throw new Error('the PPM file has a value that is not a number')
      if (++digits > 10) throw new Error('the PPM file has a number of more than 10 digits')
      value = value * 10 + byte - ZERO
    }
    if (done === count) return
  }
  end()
  if (done < count) throw truncated()
}

function withoutComments(body: Uint8Array): Uint8Array {
  if (!body.includes(HASH)) return body
  const out = new Uint8Array(body.length)
  let [length, inComment] = [0, false]
  for (const byte of body) {
    if (inComment) inComment = byte !== NEWLINE && byte !== RETURN
    else if (byte === HASH) inComment = true
    else out[length++] = byte
  }
  return out.subarray(0, length)
}
