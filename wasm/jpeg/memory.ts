/**
 * The tables of fixed size in the module's memory. Nothing in them outlives an image.
 */

/** Largest number of components: Y, Cb, Cr. */
export const COMPONENTS: i32 = 3

/** Scratch for a Huffman table as the file has it: 16 counts, then up to 256 symbols. */
export const HUFFMAN: usize = memory.data(272, 16)
/** Per component 64 quantisers (i16, natural order). */
export const QUANT: usize = memory.data(COMPONENTS * 128, 16)
/** One block of coefficients (i16, natural order), and a place for what is written behind its end. */
export const BLOCK: usize = memory.data(144, 16)
/** Zigzag order -> byte offset in BLOCK; positions behind the block lead behind it. */
export const NATURAL: usize = memory.data<u8>([
  0, 2, 16, 32, 18, 4, 6, 20, 34, 48, 64, 50, 36, 22, 8, 10, 24, 38, 52, 66, 80, 96, 82, 68, 54, 40, 26, 12, 14, 28, 42,
  56, 70, 84, 98, 112, 114, 100, 86, 72, 58, 44, 30, 46, 60, 74, 88, 102, 116, 118, 104, 90, 76, 62, 78, 92, 106, 120,
  122, 108, 94, 110, 124, 126,
  128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
  128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
  128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
  128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
  128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
  128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
  128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
  128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
])
