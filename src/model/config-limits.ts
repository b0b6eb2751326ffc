/**
 * How large a configuration's numbers may be: far beyond every published model, and small enough that what is made
 * from them before a tensor is looked at costs nothing. A configuration of a kilobyte may claim anything.
 */
export const MOST_BLOCKS = 200
export const MOST_WIDTH = 16_384
/** Pixels of a side, tokens, heads. */
export const MOST_SIDE = 65_536
/** Rows of a table: words, classes. */
export const MOST_ROWS = 10_000_000
export const MOST_RATIO = 64
