/** What a piece (pieces.ts) is called and what its header says: the half that writing one needs. */
import type { HeaderEntry } from '../../io/safetensors-header.js'
import type { RowMeta, TensorColumn, TensorData } from '../../types.js'
import { PIECES, unitName } from './layout.js'
import type { PlacedReject } from './rejects.js'

/** What a piece must be of to be taken up. */
export interface PieceSeal {
  plan: string
  processor: string
}

export const DTYPES = [
  ['F16', Uint16Array],
  ['F32', Float32Array],
  ['U8', Uint8Array],
  ['I32', Int32Array],
] as const

/** The element type of a column's values as safetensors calls it. */
export function pieceEntry(column: TensorColumn, data: TensorData, rows: number): HeaderEntry {
  const [dtype] = DTYPES.find(([, type]) => (data as unknown) instanceof type)!
  return { name: column.name, dtype, shape: [rows, ...column.shape] }
}

/** The header's metadata: whose piece it is, its rows without their tensors, its rejects. */
export function pieceMetadata(seal: PieceSeal, rows: RowMeta[], rejects: PlacedReject[]): Record<string, string> {
  const plain = rows.map((row) => ({ ...row, sha256: Buffer.from(row.sha256).toString('hex') }))
  return { ...seal, piece: JSON.stringify({ rows: plain, rejects }) }
}

export function pieceName(unit: number, start: number, end: number, sha256: string): string {
  return `${PIECES}${unitName(unit)}.${unitName(start)}-${unitName(end)}-${sha256}.safetensors`
}
