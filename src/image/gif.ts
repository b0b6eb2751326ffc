/**
 * The first frame of a GIF as Pillow shows it after convert('RGB') (src/PIL/GifImagePlugin.py,
 * src/libImaging/GifDecode.c): palette colours as they are, transparency ignored; where the frame does
 * not cover the screen, the colour of the transparent index, else of index 0.
 * Format: GIF89a specification (CompuServe, 1990).
 */
import type { RgbImage } from '../types.js'

class Reader {
  at = 0
  constructor(readonly bytes: Uint8Array) {}
  byte(): number {
    const value = this.bytes[this.at++]
    if (value === undefined) throw new Error('the GIF file is truncated')
    return value
  }
  u16(): number {
    return this.byte() | (this.byte() << 8)
  }
  take(count: number): Uint8Array {
    if (this.at + count > this.bytes.length) throw new Error('the GIF file is truncated')
    this.at += count
    return this.bytes.subarray(this.at - count, this.at)
  }
}

export function decodeGif(bytes: Uint8Array, checkSize: (width: number, height: number) => void): RgbImage {
  const reader = new Reader(bytes)
  reader.at = 6
  const screenWidth = reader.u16()
  const screenHeight = reader.u16()
  const flags = reader.byte()
  reader.at += 2
  const globalPalette = flags & 0x80 ? reader.take(3 << ((flags & 7) + 1)) : undefined
  let transparent: number | undefined
  for (;;) {
    const block = reader.byte()
    if (block === 0x3b) throw new Error('the GIF file has no frame')
    if (block === 0x21) {
      const label = reader.byte()
      let last = readSubBlock(reader)
      if (label === 0xf9 && last.length > 0) {
        if (last.length < (last[0]! & 1 ? 4 : 3))
          throw new Error('the GIF file has a graphic control block that is too short')
        if (last[0]! & 1) transparent = last[3]
      }
      // Pillow reads on behind an empty block, except in comments.
      if (label === 0xff && isLoopBlock(last)) last = readSubBlock(reader)
      if (label !== 0xfe || last.length > 0) while (readSubBlock(reader).length > 0);
      continue
    }
    if (block !== 0x2c) continue // Pillow looks on for the next block, too
    const left = reader.u16()
    const top = reader.u16()
    const width = reader.u16()
    const height = reader.u16()
    const frameFlags = reader.byte()
    const local = frameFlags & 0x80 ? reader.take(3 << ((frameFlags & 7) + 1)) : undefined
    // A frame that reaches beyond the screen enlarges it.
    const fullWidth = Math.max(screenWidth, left + width)
    const fullHeight = Math.max(screenHeight, top + height)
    checkSize(fullWidth, fullHeight)
    if (width === 0 || height === 0) throw new Error(`the GIF frame has ${width}×${height} pixels`)
    const indices = decodeLzw(reader, width, height, (frameFlags & 0x40) !== 0)
    const palette = toPalette(local ?? globalPalette)
    const data = new Uint8Array(fullWidth * fullHeight * 3)
    const fill = (transparent ?? 0) * 3
    const covers = left === 0 && top === 0 && width === fullWidth && height === fullHeight
    if (!covers) {
      for (let i = 0; i < data.length; i += 3) {
        data[i] = palette[fill]!
        data[i + 1] = palette[fill + 1]!
        data[i + 2] = palette[fill + 2]!
      }
    }
    for (let y = 0; y < height; y++) {
      let to = ((top + y) * fullWidth + left) * 3
      for (let x = 0; x < width; x++, to += 3) {
        const from = indices[y * width + x]! * 3
        data[to] = palette[from]!
        data[to + 1] = palette[from + 1]!
        data[to + 2] = palette[from + 2]!
      }
    }
    return { data, width: fullWidth, height: fullHeight }
  }
}

function readSubBlock(reader: Reader): Uint8Array {
  return reader.take(reader.byte())
}

const isLoopBlock = (block: Uint8Array): boolean =>
  'NETSCAPE2.0'.split('').every((letter, i) => block[i] === letter.charCodeAt(0))

/** 256 RGB entries; without a palette, or with one of the greys in order, the index is the grey value. */
function toPalette(colours: Uint8Array | undefined): Uint8Array {
  const palette = new Uint8Array(768)
  if (colours?.some((value, i) => value !== Math.floor(i / 3))) palette.set(colours.subarray(0, 768))
  else for (let i = 0; i < 768; i++) palette[i] = Math.floor(i / 3)
  return palette
}

/** LZW data → indices [height, width], interlaced rows put in place. */
function decodeLzw(reader: Reader, width: number, height: number, interlaced: boolean): Uint8Array {
  const minBits = reader.byte()
  if (minBits > 12) throw new Error(`the GIF frame has a code size of ${minBits} bits`)
  const clear = 1 << minBits
  const end = clear + 1
  const prefix = new Int16Array(4096)
  const suffix = new Uint8Array(4096)
  const stack = new Uint8Array(4097)
  for (let i = 0; i < clear; i++) suffix[i] = i
  const total = width * height
  const out = new Uint8Array(total)
  let [bits, next, previous, first] = [minBits + 1, clear + 2, -1, 0]
  let [buffer, available, done] = [0, 0, 0]
  let block: Uint8Array = new Uint8Array()
  let at = 0
  while (done < total) {
    while (available < bits) {
      if (at === block.length) {
        block = readSubBlock(reader)
        at = 0
        if (block.length === 0) throw new Error('the GIF frame ends before its last pixel')
      }
      buffer |= block[at++]! << available
      available += 8
    }
    let code = buffer & ((1 << bits) - 1)
    buffer >>>= bits
    available -= bits
    if (code === clear) {
      ;[bits, next, previous] = [minBits + 1, clear + 2, -1]
      continue
    }
    if (code === end) throw new Error('the GIF frame ends before its last pixel')
    if (code > next || (previous < 0 && code >= clear)) throw new Error('the GIF frame has a code that is not defined')
    const current = code
    let depth = 0
    if (code === next) {
      stack[depth++] = first
      code = previous
    }
    while (code >= clear) {
      stack[depth++] = suffix[code]!
      code = prefix[code]!
    }
    first = suffix[code]!
    stack[depth++] = first
    while (depth > 0 && done < total) out[done++] = stack[--depth]!
    if (previous >= 0 && next < 4096) {
      prefix[next] = previous
      suffix[next] = first
      next++
      if (next === 1 << bits && bits < 12) bits++
    }
    previous = current
  }
  return interlaced ? deinterlace(out, width, height) : out
}

function deinterlace(rows: Uint8Array, width: number, height: number): Uint8Array {
  const out = new Uint8Array(rows.length)
  let from = 0
  for (const [start, step] of [
    [0, 8],
    [4, 8],
    [2, 4],
    [1, 2],
  ] as const) {
    for (let y = start; y < height; y += step, from += width) out.set(rows.subarray(from, from + width), y * width)
  }
  return out
}
