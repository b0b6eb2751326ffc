/**
 * The boolean entropy decoder (RFC 6386, section 7). The frame's bytes are first copied back to front: a
 * little-endian load of eight of them then has the first on top. A partition's state lies in memory while another
 * one is read, in globals while it is open, and in locals in the inner loops of other files.
 */

/** Bytes that may be read behind a partition before `isOverrun` is asked: one macroblock of the longest codes. */
const SLACK: usize = 8192

/** The next bits, from the top; `count` of them are valid. */
export let value: u64 = 0
export let count: i32 = 0
/** The size of the interval, 1 to 255; value and size are shifted when the next bit is read. */
export let range: u32 = 0
/** Where the next eight bytes are loaded. */
export let next: usize = 0
/** `next` when all bytes of the partition are loaded. */
let end: usize = 0

/** One partition of modes and up to eight of coefficients; per partition value, next, end, count and range. */
const STATE_BYTES: i32 = 32
const STATES: usize = memory.data(9 * 32, 16)

/** One behind the frame's first byte. */
let first: usize = 0

/** Bytes of scratch that a frame needs. */
export function roomFor(bytes: i32): usize {
  return SLACK + <usize>bytes + 32
}

/** Copies the frame at `from`, followed by 16 readable bytes, to `room`: roomFor(bytes) of scratch. */
export function openFrame(from: usize, bytes: i32, room: usize): void {
  const reverse = i8x16(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
  first = room + SLACK + bytes + 16
  // What lies behind the frame lands before it, where nothing is taken as read.
  for (let i = 0; i < bytes; i += 16) v128.store(first - 16 - i, v128.swizzle(v128.load(from + i), reverse))
}

/**
 * The partition that begins at byte `from` of the frame and has so many bytes. False if no encoder can have written it:
 * its first byte is outside the first interval.
 */
export function openPartition(index: i32, from: i32, bytes: i32): bool {
  next = first - from - 8
  end = next - bytes
  value = 0
  count = 0
  range = 255
  closePartition(index)
  return bytes > 0 && load<u8>(next, 7) < 255
}

export function usePartition(index: i32): void {
  const state = STATES + index * STATE_BYTES
  value = load<u64>(state)
  next = load<usize>(state, 8)
  end = load<usize>(state, 12)
  count = load<i32>(state, 16)
  range = load<u32>(state, 20)
}

export function closePartition(index: i32): void {
  const state = STATES + index * STATE_BYTES
  store<u64>(state, value)
  store<usize>(state, next, 8)
  store<usize>(state, end, 12)
  store<i32>(state, count, 16)
  store<u32>(state, range, 20)
}

/** Whether bits may have been used that the open partition does not have. */
export function isOverrun(): bool {
  return (<i32>(end - next) << 3) - count + 8 > 0
}

export function setState(newValue: u64, newCount: i32, newRange: u32, newNext: usize): void {
  value = newValue
  count = newCount
  range = newRange
  next = newNext
}

/** How far the state is shifted before the next bit: until the interval has 128 to 255 values again. */
@inline
export function shiftOf(size: u32): u32 {
  return clz(size) - 24
}

/**
 * How many of the interval's values stand for 0, which has `probability` out of 256: one more than
 * (((size << shift) - 1) * probability) >> 8, in an order in which the product does not wait for the shift.
 */
@inline
export function zerosOf(size: u32, shift: u32, probability: u32): u32 {
  return (((size * probability) << shift) + 256 - probability) >> 8
}

/** The place of the value in the interval. */
@inline
export function topOf(v: u64): u32 {
  return <u32>(v >> 56)
}

/** Where the values that stand for 1 begin. */
@inline
export function boundOf(zeros: u32): u64 {
  return <u64>zeros << 56
}

/** The next bit, which is 0 with `probability` out of 256. */
export function readBit(probability: u32): u32 {
  const shift = shiftOf(range)
  let v = value << shift
  let n = count - shift
  if (n < 16) {
    v |= load<u64>(next) >> n
    next -= (63 - n) >> 3
    n |= 56
  }
  const zeros = zerosOf(range, shift, probability)
  const bit: bool = topOf(v) >= zeros
  range = bit ? (range << shift) - zeros : zeros
  value = bit ? v - boundOf(zeros) : v
  count = n
  return bit
}

/** `bits` equally likely bits, the highest first. */
export function readNumber(bits: i32): i32 {
  let number: u32 = 0
  for (let i = 0; i < bits; i++) number = (number << 1) | readBit(128)
  return number
}

/** A bit that says whether a number with a sign follows; 0 if none does. */
export function readOptional(bits: i32): i32 {
  if (!readBit(128)) return 0
  const number = readNumber(bits)
  return readBit(128) ? -number : number
}
