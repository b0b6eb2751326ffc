/**
 * Entropy-coded pixels (RFC 9649, sections 5 and 6.2): single ones, copies of earlier ones, colours from a cache.
 * Besides the picture itself there are small ones that hold the parameters of transforms, and one that says which
 * group of codes serves which square of the picture. A pixel is one number, blue in its lowest byte, alpha in its
 * highest.
 */
import { reserve } from '../pixels/reserve'
import { bits, count, isOverrun, next, readBits, setBits } from './bits'
import { entryAt, readCode } from './codes'

const GREEN: i32 = 256
const LENGTHS: i32 = 24
const DISTANCES: i32 = 40
/** Tables of a group: green with lengths and cache, red, blue, alpha, distances. */
const GROUP_BYTES: i32 = 20
/** More would need more than 40 MB of tables. */
const MOST_GROUPS: i32 = 2048

/** Distances 1 to 120 as eight less columns and rows: (row << 4) | column (section 5.2.2). */
const NEAR: usize = memory.data<u8>([
  24, 7, 23, 25, 40, 6, 39, 41, 22, 26, 38, 42, 56, 5, 55, 57, 21, 27, 54, 58, 37, 43, 72, 4, 71, 73, 20, 28, 53, 59,
  70, 74, 36, 44, 88, 69, 75, 52, 60, 3, 87, 89, 19, 29, 86, 90, 35, 45, 68, 76, 85, 91, 51, 61, 104, 2, 103, 105, 18,
  30, 102, 106, 34, 46, 84, 92, 67, 77, 101, 107, 50, 62, 120, 1, 119, 121, 83, 93, 17, 31, 100, 108, 66, 78, 118,
  122, 33, 47, 117, 123, 49, 63, 99, 109, 82, 94, 0, 116, 124, 65, 79, 16, 32, 98, 110, 48, 115, 125, 81, 95, 64, 114,
  126, 97, 111, 80, 113, 127, 96, 112,
])

let width: i32 = 0
let cacheBits: i32 = 0
let cache: usize = 0
/** Tables of all groups; which group by square of 1 << `groupBits` pixels, if there are several. */
let groups: usize = 0
let groupBits: i32 = 0
let groupImage: usize = 0
let groupsPerRow: i32 = 0

/** Sides in squares of 1 << `log2`. */
@inline
export function squaresIn(side: i32, log2: i32): i32 {
  return (side + (1 << log2) - 1) >> log2
}

/** Reads a small picture. Returns its pixels (u32); 0: give up. */
export function readSmallImage(imageWidth: i32, height: i32): usize {
  if (!openImage(imageWidth, height, false)) return 0
  const total = imageWidth * height
  const pixels = reserve(<usize>total * 4 + 64)
  return pixels != 0 && readPixels(pixels, 0, total, total) == total ? pixels : 0
}

/** Reads what stands before an image's pixels. `isMain`: there may be several groups of codes. False: give up. */
export function openImage(imageWidth: i32, height: i32, isMain: bool): bool {
  const hasCache = readBits(1) != 0
  const colours = hasCache ? <i32>readBits(4) : 0
  if (hasCache && (colours == 0 || colours > 11)) return false
  let count = 1
  let image: usize = 0
  let log2 = 0
  if (isMain && readBits(1)) {
    log2 = 2 + <i32>readBits(3)
    const across = squaresIn(imageWidth, log2)
    const squares = across * squaresIn(height, log2)
    image = readSmallImage(across, squares / across)
    if (image == 0) return false
    for (let i = 0; i < squares; i++) count = max(count, <i32>((load<u32>(image + (i << 2)) >> 8) & 0xffff) + 1)
    if (count > MOST_GROUPS) return false
  }
  groups = reserve(count * GROUP_BYTES)
  if (groups == 0) return false
  for (let i = 0; i < count; i++) if (!readGroup(groups + i * GROUP_BYTES, colours)) return false
  width = imageWidth
  cacheBits = colours
  groupBits = log2
  groupImage = image
  groupsPerRow = squaresIn(imageWidth, log2)
  if (colours > 0) {
    cache = reserve(4 << colours)
    if (cache == 0) return false
    memory.fill(cache, 0, 4 << colours)
  }
  return true
}

function readGroup(to: usize, colours: i32): bool {
  for (let i = 0; i < 5; i++) {
    const symbols = i == 0 ? GREEN + LENGTHS + (colours > 0 ? 1 << colours : 0) : i == 4 ? DISTANCES : 256
    const table = readCode(symbols)
    if (table == 0) return false
    store<usize>(to + (i << 2), table)
  }
  return true
}

@inline
function groupOf(column: i32, row: i32): usize {
  if (groupImage == 0) return groups
  const square = (row >> groupBits) * groupsPerRow + (column >> groupBits)
  return groups + <i32>((load<u32>(groupImage + (square << 2)) >> 8) & 0xffff) * GROUP_BYTES
}

/** A length, or a distance's number: a symbol up to 3 is one, the others have extra bits. */
@inline
function extraBits(symbol: i32): i32 {
  return symbol < 4 ? 0 : (symbol - 2) >> 1
}

@inline
function withExtra(symbol: i32, extra: i32): i32 {
  return symbol < 4 ? symbol + 1 : ((2 + (symbol & 1)) << extraBits(symbol)) + extra + 1
}

/** Pixels back. */
function distanceOf(number: i32): i32 {
  if (number > 120) return number - 120
  const near = <i32>load<u8>(NEAR + number - 1)
  return max(1, (near >> 4) * width + 8 - (near & 15))
}

@inline
function keep(pixel: u32): void {
  store<u32>(cache + <usize>(((pixel * 0x1e35a7bd) >> (32 - cacheBits)) << 2), pixel)
}

/**
 * Reads pixels from number `from` on until there are `until` or, as a copy ends, more. Returns how many there are
 * then; -1: give up. `total`: of the image, behind which 64 bytes may be written.
 */
export function readPixels(pixels: usize, from: i32, until: i32, total: i32): i32 {
  let v = bits
  let n = count
  let at = next
  let position = from
  let column = from % width
  let row = from / width
  const mask = groupImage == 0 ? -1 : (1 << groupBits) - 1
  let group = groupOf(column, row)
  while (position < until) {
    if ((column & mask) == 0) group = groupOf(column, row)
    v |= load<u64>(at) << n
    at += (63 - n) >> 3
    n |= 56
    const green = entryAt(load<usize>(group), v)
    v >>= green & 15
    n -= green & 15
    const symbol = <i32>(green >> 16)
    if (symbol < GREEN) {
      const red = entryAt(load<usize>(group, 4), v)
      v >>= red & 15
      n -= red & 15
      const blue = entryAt(load<usize>(group, 8), v)
      v >>= blue & 15
      n -= blue & 15
      if (n < 16) {
        v |= load<u64>(at) << n
        at += (63 - n) >> 3
        n |= 56
      }
      const alpha = entryAt(load<usize>(group, 12), v)
      v >>= alpha & 15
      n -= alpha & 15
      const pixel = ((alpha >> 16) << 24) | (red & 0xff0000) | (symbol << 8) | (blue >> 16)
      store<u32>(pixels + (position << 2), pixel)
      if (cacheBits > 0) keep(pixel)
      position++
      column++
    } else if (symbol < GREEN + LENGTHS) {
      const lengthBits = extraBits(symbol - GREEN)
      const length = withExtra(symbol - GREEN, <i32>(<u32>v & ((1 << lengthBits) - 1)))
      v >>= lengthBits
      n -= lengthBits
      const entry = entryAt(load<usize>(group, 16), v)
      v >>= entry & 15
      n -= entry & 15
      if (n < 20) {
        v |= load<u64>(at) << n
        at += (63 - n) >> 3
        n |= 56
      }
      const distanceBits = extraBits(<i32>(entry >> 16))
      const distance = distanceOf(withExtra(<i32>(entry >> 16), <i32>(<u32>v & ((1 << distanceBits) - 1))))
      v >>= distanceBits
      n -= distanceBits
      if (distance > position || length > total - position) return -1
      copyPixels(pixels + (position << 2), distance, length)
      position += length
      column += length
      if (column < width) {
        if (column & mask) group = groupOf(column, row)
        continue
      }
      row += column / width - 1
      column = (column % width) + width
    } else {
      const pixel = load<u32>(cache + ((symbol - GREEN - LENGTHS) << 2))
      store<u32>(pixels + (position << 2), pixel)
      keep(pixel) // it is there, but for the 0 of an empty place
      position++
      column++
    }
    if (column >= width) {
      column -= width
      row++
      setBits(v, n, at)
      if (isOverrun()) return -1
      if (position < total) group = groupOf(column, row)
    }
  }
  setBits(v, n, at)
  return position
}

/** May write twelve bytes more. */
function copyPixels(to: usize, distance: i32, length: i32): void {
  const from = to - (distance << 2)
  if (distance >= 4) for (let i = 0; i < length << 2; i += 16) v128.store(to + i, v128.load(from + i))
  else for (let i = 0; i < length << 2; i += 4) store<u32>(to + i, load<u32>(from + i))
  if (cacheBits > 0) for (let i = 0; i < length; i++) keep(load<u32>(to + (i << 2)))
}
