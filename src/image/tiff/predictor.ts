/**
 * Undoes TIFF predictors in place, on the rows of one segment: 2 stores the difference to the sample of the same
 * kind in the pixel before, 3 does so with the bytes of floating-point samples, sorted by significance.
 * Reference: TIFF 6.0, section 14; Adobe's TIFF Technical Note 3.
 */
import { type Layout, unsupported } from './layout.js'

/** Only these compressions have predictors; others ignore the tag. */
export const hasPredictor = (compression: number): boolean => [5, 8, 32946, 34925, 50000].includes(compression)

export function undoPredictor(rows: Uint8Array, rowBytes: number, layout: Layout): void {
  const { predictor, bitsPerSample, samples, littleEndian, pixels } = layout
  if (predictor === 1) return
  const isFloat = pixels.kind === 'clipped' && pixels.type === 'float32'
  if (predictor === 2 && [8, 16, 32].includes(bitsPerSample)) {
    for (let at = 0; at + rowBytes <= rows.length; at += rowBytes) {
      addUp(rows.subarray(at, at + rowBytes), samples, bitsPerSample / 8, littleEndian)
    }
  } else if (predictor === 3 && isFloat) {
    for (let at = 0; at + rowBytes <= rows.length; at += rowBytes) {
      unsortBytes(rows.subarray(at, at + rowBytes), samples, littleEndian)
    }
  } else throw unsupported(`predictor ${predictor} for samples of ${bitsPerSample} bits`)
}

function addUp(row: Uint8Array, samples: number, bytes: number, littleEndian: boolean): void {
  if (bytes === 1) {
    for (let i = samples; i < row.length; i++) row[i] = row[i]! + row[i - samples]!
    return
  }
  const view = new DataView(row.buffer, row.byteOffset, row.byteLength)
  const step = samples * bytes
  for (let i = step; i + bytes <= row.length; i += bytes) {
    if (bytes === 2) {
      view.setUint16(i, view.getUint16(i, littleEndian) + view.getUint16(i - step, littleEndian), littleEndian)
    } else {
      view.setUint32(i, view.getUint32(i, littleEndian) + view.getUint32(i - step, littleEndian), littleEndian)
    }
  }
}

/** Four planes of bytes, the most significant first, whatever the byte order of the file. */
function unsortBytes(row: Uint8Array, samples: number, littleEndian: boolean): void {
  for (let i = samples; i < row.length; i++) row[i] = row[i]! + row[i - samples]!
  const sorted = Uint8Array.from(row)
  const count = row.length / 4
  for (let i = 0; i < count; i++) {
    for (let byte = 0; byte < 4; byte++) row[4 * i + (littleEndian ? 3 - byte : byte)] = sorted[byte * count + i]!
  }
}
