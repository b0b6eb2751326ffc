/**
 * Huffman decoding of one block (ITU-T T.81, annex F.2.2). A table has an entry for each value of the next LOOK
 * bits: run (7 bits), size (4 bits), length of code and value together (5 bits); 0 stands for a longer code. The
 * end of the block is a run that leads behind it. After the entries come, by length, the first longer code
 * and what leads from a code to its symbol.
 */
import { bits, count, next, setBits } from './bits'
import { BLOCK, HUFFMAN, NATURAL } from './memory'

const LOOK: i32 = 10
const ENTRIES: usize = 2 << LOOK
const LIMITS: usize = ENTRIES
const OFFSETS: usize = LIMITS + 17 * 4
const SYMBOLS: usize = OFFSETS + 17 * 4
const TABLE_BYTES: usize = SYMBOLS + 256 + 24

/** Four DC tables, then four AC tables. */
const TABLES: usize = memory.data(8 * 2464, 16)

/** The run of the code that ends a block. */
const END_RUN: u32 = 127

/** The entry of a symbol whose code has `length` bits. */
function entryOf(symbol: u32, length: u32): u32 {
  const size = symbol & 15
  const run = size == 0 && symbol != 0xf0 ? END_RUN : symbol >> 4
  return (run << 9) | (size << 5) | (length + size)
}

export function tableAt(index: i32): usize {
  return TABLES + <usize>index * TABLE_BYTES
}

/** Builds table `index` from HUFFMAN. False if it cannot be one, or a DC size is above 15. */
export function buildTable(index: i32): bool {
  const table = tableAt(index)
  memory.fill(table, 0, ENTRIES)
  let code: u32 = 0
  let at: i32 = 0
  for (let length = 1; length <= 16; length++) {
    const number = <i32>load<u8>(HUFFMAN + length - 1)
    store<i32>(table + OFFSETS + length * 4, at - <i32>code)
    for (let i = 0; i < number; i++, at++, code++) {
      if (at > 255) return false
      const symbol = <u32>load<u8>(HUFFMAN + 16 + at)
      if (index < 4 && symbol > 15) return false
      store<u8>(table + SYMBOLS + at, <u8>symbol)
      if (length > LOOK) continue
      if (code >> length) return false
      const entry = entryOf(symbol, length)
      const begin = code << (LOOK - length)
      for (let j: u32 = 0; j < 1 << (LOOK - length); j++) store<u16>(table + ((begin + j) << 1), <u16>entry)
    }
    if (number > 0 && code >= <u32>(1 << length)) return false // no code is all ones
    store<u32>(table + LIMITS + length * 4, code << (16 - length))
    code <<= 1
  }
  return at > 0
}

/** The entry of a code longer than ten bits; 0 if there is none. */
function longCode(table: usize, top: u32): u32 {
  for (let length = LOOK + 1; length <= 16; length++) {
    if (top >= load<u32>(table + LIMITS + length * 4)) continue
    const at = load<i32>(table + OFFSETS + length * 4) + <i32>(top >> (16 - length))
    const symbol = <u32>load<u8>(table + SYMBOLS + at)
    return entryOf(symbol, length)
  }
  return 0
}

/** A bound of the last coefficient's position in zigzag order, 0 if there is only DC; -1 if the block is damaged. */
export let lastCoefficient: i32 = 0

/** Reads a block's coefficients into BLOCK, which must be zero but for [0]. Returns the DC difference. */
export function readBlock(dc: usize, ac: usize, prediction: i32): i32 {
  let b = bits
  let n = count
  let at = next
  // Eight bytes are loaded, and as many counted as fit.
  b |= load<u64>(at) >> n
  at -= (63 - n) >> 3
  n |= 56
  let entry = <u32>load<u16>(dc + <usize>((b >> (64 - LOOK)) << 1))
  if (entry == 0) entry = longCode(dc, <u32>(b >> 48))
  let total = entry & 31
  let bad = total == 0
  const difference = valueOf(b, total, (entry >> 5) & 15)
  b <<= total
  n -= total
  store<i16>(BLOCK, <i16>(prediction + difference))
  let k: u32 = 1
  let begun: u32 = 1
  do {
    if (n < 32) {
      b |= load<u64>(at) >> n
      at -= (63 - n) >> 3
      n |= 56
    }
    entry = <u32>load<u16>(ac + <usize>((b >> (64 - LOOK)) << 1))
    if (entry == 0) {
      entry = longCode(ac, <u32>(b >> 48))
      if (entry == 0) {
        bad = true
        break
      }
    }
    total = entry & 31
    const value = valueOf(b, total, (entry >> 5) & 15)
    b <<= total
    n -= total
    begun = k
    k += entry >> 9
    // A run of sixteen zeros writes the last of them; the end of the block writes behind it.
    store<i16>(BLOCK + load<u8>(NATURAL + k), <i16>value)
    k++
  } while (k < 64)
  setBits(b, n, at)
  lastCoefficient = bad || (k > 64 && k < END_RUN) ? -1 : begun - (k > 64 ? 1 : 0)
  if (k == 64) lastCoefficient = 63
  return difference
}

/** The `size` bits behind a code as a value (T.81, figure F.12): a leading 0 means a negative one. */
@inline
function valueOf(b: u64, total: u32, size: u32): i32 {
  const rest = b << (total - size)
  const negative = ~(<i64>rest >> 63)
  return <i32>((rest >> 1) >> (63 - size)) - (<i32>negative & ((1 << size) - 1))
}
