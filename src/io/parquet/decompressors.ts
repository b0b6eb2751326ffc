/** Decompression of pages, by the codec's name. Where a page holds nothing, nothing is asked of the library. */
import type { Compressors } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'

// A column of nulls has such pages, and hyparquet-compressors 1.1.2 refuses them in LZ4.
export const decompressors: Compressors = Object.fromEntries(
  Object.entries(compressors).map(([codec, decompress]) => [
    codec,
    (input: Uint8Array, size: number) => (size === 0 ? new Uint8Array(0) : decompress(input, size)),
  ]),
)
