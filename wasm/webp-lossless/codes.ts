/**
 * Prefix codes of a lossless picture (RFC 9649, sections 3.7.2.1 and 6.2) -> tables. A table has an entry for each
 * value of the next eight bits: symbol (from bit 16 on) and length of its code, or, where bit 7 is set, where the
 * entries of longer codes begin and how many more bits they look at.
 */
import { reserve } from '../pixels/reserve'
import { isOverrun, peek, readBits } from './bits'

const ROOT_BITS: i32 = 8
const ROOT: i32 = 1 << ROOT_BITS
const LONG: u32 = 128
const LONGEST: i32 = 15
/** Most symbols: green, lengths of copies, a cache of colours. */
const MOST_SYMBOLS: i32 = 256 + 24 + 2048
/** Symbols that describe the lengths of others. */
const LENGTH_SYMBOLS: i32 = 19

/** Lengths of the code's symbols, and of those that describe them. */
const LENGTHS: usize = memory.data(2328, 8)
const LENGTH_LENGTHS: usize = memory.data(19)
const LENGTH_ORDER: usize = memory.data<u8>([17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
const SORTED: usize = memory.data(2328 * 2, 2)
/** By length: how many codes, then where the next symbol goes. */
const COUNTS: usize = memory.data(16 * 4, 4)
const PLACES: usize = memory.data(16 * 4, 4)
/** By their first eight bits, how many more bits the longest code has. */
const MORE_BITS: usize = memory.data(256)
/** The table of the lengths' code, which has no long codes: seven bits at most. */
const LENGTH_TABLE: usize = memory.data(256 * 4, 4)

/** The entry of the code that comes next in `bits`. */
@inline
export function entryAt(table: usize, bits: u64): u32 {
  const entry = load<u32>(table + (<usize>(bits & 255) << 2))
  if ((entry & LONG) == 0) return entry
  const more = <u32>(bits >> 8) & ((1 << (entry & 15)) - 1)
  return load<u32>(table + (<usize>((entry >> 16) + more) << 2))
}

/** Reads a code of `symbols` symbols. Returns its table; 0 if it is damaged or there is no memory. */
export function readCode(symbols: i32): usize {
  memory.fill(LENGTHS, 0, MOST_SYMBOLS)
  const isRead = readBits(1) ? readFewSymbols(symbols) : readLengths(symbols)
  return isRead && !isOverrun() ? buildTable(LENGTHS, symbols, 0) : 0
}

/** One or two symbols, whose codes have one bit at most. */
function readFewSymbols(symbols: i32): bool {
  const isPair = readBits(1) != 0
  const first = <i32>readBits(readBits(1) ? 8 : 1)
  const second = isPair ? <i32>readBits(8) : first
  if (first >= symbols || second >= symbols) return false
  store<u8>(LENGTHS + first, 1)
  store<u8>(LENGTHS + second, 1)
  return true
}

function readLengths(symbols: i32): bool {
  memory.fill(LENGTH_LENGTHS, 0, LENGTH_SYMBOLS)
  const described = 4 + <i32>readBits(4)
  for (let i = 0; i < described; i++) store<u8>(LENGTH_LENGTHS + load<u8>(LENGTH_ORDER + i), <u8>readBits(3))
  if (buildTable(LENGTH_LENGTHS, LENGTH_SYMBOLS, LENGTH_TABLE) == 0) return false
  let left = symbols
  if (readBits(1)) {
    left = 2 + <i32>readBits(2 + 2 * <i32>readBits(3))
    if (left > symbols) return false
  }
  let last: i32 = 8
  for (let symbol = 0; symbol < symbols && left > 0; left--) {
    const entry = entryAt(LENGTH_TABLE, peek())
    readBits(<i32>(entry & 15))
    const code = <i32>(entry >> 16)
    if (code < 16) {
      store<u8>(LENGTHS + symbol++, <u8>code)
      if (code > 0) last = code
      continue
    }
    // A run of the last length that was not 0, or of 0, short or long.
    const run = code == 16 ? 3 + readBits(2) : code == 17 ? 3 + readBits(3) : 11 + readBits(7)
    if (symbol + <i32>run > symbols) return false
    memory.fill(LENGTHS + symbol, code == 16 ? <u8>last : 0, run)
    symbol += <i32>run
  }
  return true
}

/**
 * Builds the table of a canonical code from the lengths of its symbols, at `to`, or where there is memory. 0 if the
 * lengths are not those of a complete code, or of a single symbol, which then has no bits.
 */
function buildTable(lengths: usize, symbols: i32, to: usize): usize {
  memory.fill(COUNTS, 0, 64)
  for (let i = 0; i < symbols; i++) {
    const at = COUNTS + (<usize>load<u8>(lengths + i) << 2)
    store<i32>(at, load<i32>(at) + 1)
  }
  const used = symbols - load<i32>(COUNTS)
  let place = 0
  let room = 0
  for (let length = 1; length <= LONGEST; length++) {
    store<i32>(PLACES + (length << 2), place)
    place += load<i32>(COUNTS + (length << 2))
    room += load<i32>(COUNTS + (length << 2)) << (LONGEST - length)
  }
  for (let i = 0; i < symbols; i++) {
    const length = <usize>load<u8>(lengths + i)
    if (length == 0) continue
    const at = PLACES + (length << 2)
    store<u16>(SORTED + (load<i32>(at) << 1), <u16>i)
    store<i32>(at, load<i32>(at) + 1)
  }
  if (used == 1) {
    const table = to == 0 ? reserve(ROOT * 4) : to
    if (table) for (let i = 0; i < ROOT; i++) store<u32>(table + (i << 2), <u32>load<u16>(SORTED) << 16)
    return table
  }
  if (room != 1 << LONGEST) return 0
  let table = to
  if (to == 0) {
    table = reserve((ROOT + countLongEntries()) * 4)
    if (table == 0) return 0
    placeLongEntries(table)
  }
  fillTable(table)
  return table
}

/** The lowest bit last -> first. */
@inline
function reversed(code: u32, length: i32): u32 {
  let result: u32 = 0
  for (let i = 0; i < length; i++) result |= ((code >> i) & 1) << (length - 1 - i)
  return result
}

/** Finds how many bits codes have behind their first eight. Returns how many entries that makes. */
function countLongEntries(): i32 {
  memory.fill(MORE_BITS, 0, ROOT)
  let code: u32 = 0
  for (let length = 1; length <= LONGEST; length++) {
    for (let i = load<i32>(COUNTS + (length << 2)); i > 0; i--, code++) {
      const more = length - ROOT_BITS
      // Longer codes come later.
      if (more > 0) store<u8>(MORE_BITS + reversed(code >> more, ROOT_BITS), <u8>more)
    }
    code <<= 1
  }
  let entries = 0
  for (let i = 0; i < ROOT; i++) if (load<u8>(MORE_BITS + i)) entries += 1 << load<u8>(MORE_BITS + i)
  return entries
}

function placeLongEntries(table: usize): void {
  let at: u32 = ROOT
  for (let i = 0; i < ROOT; i++) {
    const more = <u32>load<u8>(MORE_BITS + i)
    if (more == 0) continue
    store<u32>(table + (i << 2), (at << 16) | LONG | more)
    at += 1 << more
  }
}

function fillTable(table: usize): void {
  let code: u32 = 0
  let symbol = SORTED
  for (let length = 1; length <= LONGEST; length++) {
    for (let i = load<i32>(COUNTS + (length << 2)); i > 0; i--, code++, symbol += 2) {
      const entry = (<u32>load<u16>(symbol) << 16) | length
      const key = reversed(code, length)
      if (length <= ROOT_BITS) {
        for (let at = key; at < <u32>ROOT; at += 1 << length) store<u32>(table + (at << 2), entry)
        continue
      }
      const root = load<u32>(table + ((key & 255) << 2))
      const size: u32 = 1 << (root & 15)
      for (let at = key >> ROOT_BITS; at < size; at += 1 << (length - ROOT_BITS)) {
        store<u32>(table + (((root >> 16) + at) << 2), entry)
      }
    }
    code <<= 1
  }
}
