/** The bits of a lossless picture (RFC 9649, section 3), the lowest of each byte first. */

/** Bytes that a decoder may read behind the picture before `isOverrun` is asked: one row of the longest codes. */
const SLACK: usize = 144 * 1024

/** The next bits, from the bottom; `count` of them are valid. */
export let bits: u64 = 0
export let count: i32 = 0
/** Where the next eight bytes are loaded. */
export let next: usize = 0
let end: usize = 0

/** Bytes of memory for a picture of that size. */
export function roomFor(bytes: i32): usize {
  return <usize>bytes + SLACK
}

export function openBits(from: usize, bytes: i32): void {
  next = from
  end = from + bytes
  bits = 0
  count = 0
}

export function setBits(newBits: u64, newCount: i32, newNext: usize): void {
  bits = newBits
  count = newCount
  next = newNext
}

/** Whether more bits were used than there are. */
export function isOverrun(): bool {
  return (<i32>(next - end) << 3) > count
}

/** The next `size` bits, 32 at most. */
export function readBits(size: i32): u32 {
  if (count < 32) {
    bits |= load<u64>(next) << count
    next += (63 - count) >> 3
    count |= 56
  }
  const number = <u32>(bits & ((<u64>1 << size) - 1))
  bits >>= size
  count -= size
  return number
}

/** The next bits without using them: 32 are valid. */
export function peek(): u64 {
  readBits(0)
  return bits
}
