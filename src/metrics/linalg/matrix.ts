/** Row-major float64, rows × columns. */
export interface Matrix {
  rows: number
  columns: number
  data: Float64Array
}
