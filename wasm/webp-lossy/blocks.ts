/** The coefficients of one macroblock, between the file that reads them and those that use them. */

export const BLOCK_BYTES: i32 = 32
const ALL: usize = memory.data(25 * 32, 16)
/**
 * 16 blocks of luma, then 4 of each chroma; before them that of luma's DC. 16 values (i16) each, all zero between
 * macroblocks.
 */
export const BLOCKS: usize = ALL + BLOCK_BYTES

/** What a block has: nothing, only DC, none but its first three in zigzag order, anything. */
export const NOTHING: i32 = 0
export const ONLY_DC: i32 = 1
export const FIRST_THREE: i32 = 2
export const ANYTHING: i32 = 3
/** The code of each of the 24 blocks. */
export const CODES: usize = memory.data(24, 8)

export function clearBlocks(): void {
  memory.fill(ALL, 0, 25 * BLOCK_BYTES)
}
