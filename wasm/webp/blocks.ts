/** The coefficients of one macroblock, between the file that reads them and those that use them. */

/** 16 blocks of luma, 4 of each chroma, that of luma's DC: 16 values (i16) each, all zero between macroblocks. */
export const BLOCK_BYTES: i32 = 32
export const BLOCKS: usize = memory.data(25 * 32, 16)
export const DC_BLOCK: usize = BLOCKS + 24 * 32

/** What a block has: nothing, only DC, none but its first three in zigzag order, anything. */
export const NOTHING: i32 = 0
export const ONLY_DC: i32 = 1
export const FIRST_THREE: i32 = 2
export const ANYTHING: i32 = 3
/** The code of each of the 24 blocks. */
export const CODES: usize = memory.data(24, 8)
