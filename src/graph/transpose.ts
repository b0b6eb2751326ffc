/** [rows, columns] → [columns, rows]. */
export function transpose(matrix: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(matrix.length)
  // Blocks keep both sides in cache: these matrices have up to ten million elements.
  const B = 32
  for (let r0 = 0; r0 < rows; r0 += B) {
    for (let c0 = 0; c0 < columns; c0 += B) {
      const r1 = Math.min(r0 + B, rows)
      const c1 = Math.min(c0 + B, columns)
      for (let r = r0; r < r1; r++) for (let c = c0; c < c1; c++) out[c * rows + r] = matrix[r * columns + c]!
    }
  }
  return out
}
