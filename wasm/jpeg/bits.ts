/**
 * The entropy-coded bits of a scan. A segment (up to the next marker) is first copied without its stuffed
 * zero bytes and back to front: a little-endian load of eight bytes then has the first of them on top, and
 * the bit reader never has to look for 0xff.
 */

/** Bytes that a decoder may read behind a segment before `isOverrun` is asked: one MCU of the longest codes. */
const SLACK: usize = 4096

/** The next bits, from the top; `count` of them are valid. */
export let bits: u64 = 0
export let count: i32 = 0
/** Where the next eight bytes are loaded. */
export let next: usize = 0

let scan: usize = 0
let scanEnd: usize = 0
/** First unread byte of the scan: behind the last segment, at its marker. */
let source: usize = 0
let last: usize = 0
let segmentBytes: i32 = 0
/** `next` before the first load. */
let first: usize = 0

/** Bytes of scratch that a scan of that size needs. */
export function roomFor(bytes: i32): usize {
  return <usize>bytes + 2 * SLACK + 64
}

/** `from`: a scan of `bytes` bytes, followed by 16 readable ones; `room`: roomFor(bytes) of scratch. */
export function openScan(from: usize, bytes: i32, room: usize): void {
  scan = from
  source = from
  scanEnd = from + bytes
  last = room + SLACK + bytes + 32
}

export function setBits(newBits: u64, newCount: i32, newNext: usize): void {
  bits = newBits
  count = newCount
  next = newNext
}

/** Copies the segment that starts at `source`. False if the scan ends before a marker. */
export function openSegment(): bool {
  let from = source
  let to = last // one behind the next byte
  const ones = i8x16.splat(-1)
  const reverse = i8x16(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
  while (from < scanEnd) {
    const chunk = v128.load(from)
    const found = i8x16.bitmask(i8x16.eq(chunk, ones))
    // Bytes behind the first 0xff are written too, and written over.
    v128.store(to - 16, v128.swizzle(chunk, reverse))
    if (found == 0) {
      from += 16
      to -= 16
      continue
    }
    const before = <usize>ctz(found)
    from += before
    to -= before
    if (from + 1 >= scanEnd) return false
    if (load<u8>(from + 1) != 0) {
      source = from
      segmentBytes = <i32>(last - to)
      first = last - 8
      setBits(0, 0, first)
      return true
    }
    to -= 1
    store<u8>(to, 0xff)
    from += 2
  }
  return false
}

/** Whether more bits were used than the segment has, by far enough to stop now. */
export function isOverrun(): bool {
  return first - next > <usize>(segmentBytes + 16)
}

/** Whether the bits used end in the segment's last byte. */
export function isSegmentUsedUp(): bool {
  const used = <i32>(first - next) * 8 - count
  return used <= segmentBytes * 8 && used > segmentBytes * 8 - 8
}

/** Steps over the restart marker that must come here. */
export function skipRestart(index: i32): bool {
  if (load<u8>(source + 1) != 0xd0 + (index & 7)) return false
  source += 2
  return true
}

/** Offset of the marker behind the last segment. */
export function markerOffset(): i32 {
  return <i32>(source - scan)
}
