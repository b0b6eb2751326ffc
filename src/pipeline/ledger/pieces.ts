/**
 * Pieces: what a unit has finished before it is complete, `_vtp/pieces/UNIT.START-END-DIGEST.safetensors`. Each holds
 * the rows and rejects of consecutive entries of the unit's listing; the next attempt takes them up and does the
 * rest. Rows do not depend on how they are batched, so the shard has the bytes of an undisturbed run.
 *
 * A piece is written once and whole. Its name holds the digest of its bytes: two workers that finish the same
 * entries write the same name, a damaged piece is passed over, and what a piece is of (plan, kind of processor)
 * stands in it. Pieces go when their unit is committed.
 */
import { createHash } from 'node:crypto'
import * as z from 'zod'
import { DTYPE_BYTES, parseSafetensorsHeader } from '../../io/safetensors.js'
import { columnSize } from '../../io/shards/rebatch.js'
import type { Store } from '../../io/store.js'
import { REJECT_CODES, type RowBatch, type RowMeta, type TensorColumn, type TensorData } from '../../types.js'
import { PIECES, unitName } from './layout.js'
import { DTYPES, type PieceSeal } from './piece-header.js'
import type { PlacedReject } from './rejects.js'

/** Rows and rejects of the entries from `start` to before `end` of a unit. */
export interface PieceRows {
  start: number
  end: number
  batch: RowBatch
  rejects: PlacedReject[]
}

export interface PieceRef {
  name: string
  start: number
  end: number
  sha256: string
}

const rowSchema = z.looseObject({
  key: z.string(),
  uri: z.string(),
  label: z.int().nullable(),
  caption: z.string().nullable(),
  width: z.int(),
  height: z.int(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
})
const metaSchema = z.object({
  rows: z.array(rowSchema),
  rejects: z.array(
    z.object({
      position: z.int().nonnegative(),
      reject: z.object({
        key: z.string(),
        uri: z.string(),
        stage: z.enum(['list', 'read', 'decode', 'transform', 'encode']),
        code: z.enum(REJECT_CODES),
        message: z.string(),
      }),
    }),
  ),
})

const NAME = /^_vtp\/pieces\/(\d{5,})\.(\d{5,})-(\d{5,})-([0-9a-f]{64})\.safetensors$/

function parseName(name: string): (PieceRef & { unit: number }) | undefined {
  const match = NAME.exec(name)
  if (!match) return undefined
  const [unit, start, end] = match.slice(1, 4).map(Number) as [number, number, number]
  return start < end ? { name, unit, start, end, sha256: match[4]! } : undefined
}

/** The pieces of a unit that earlier attempts have left. */
export async function listPieces(store: Store, unit: number): Promise<PieceRef[]> {
  const found: PieceRef[] = []
  for await (const name of store.names(`${PIECES}${unitName(unit)}.`)) {
    const piece = parseName(name)
    if (piece) found.push(piece)
  }
  return found
}

/** Entries that pieces hold, by unit; entries that two pieces hold are counted once. */
export async function keptEntries(store: Store): Promise<Map<number, number>> {
  const byUnit = new Map<number, PieceRef[]>()
  for await (const name of store.names(PIECES)) {
    const piece = parseName(name)
    if (piece) byUnit.set(piece.unit, [...(byUnit.get(piece.unit) ?? []), piece])
  }
  const count = (pieces: PieceRef[]): number =>
    choosePieces(pieces).reduce((sum, { start, end }) => sum + end - start, 0)
  return new Map([...byUnit].map(([unit, pieces]) => [unit, count(pieces)]))
}

/** Pieces that do not overlap, in order: of those that begin at or behind the last one's end, the earliest and longest. */
export function choosePieces(pieces: PieceRef[]): PieceRef[] {
  const chosen: PieceRef[] = []
  let at = 0
  for (const piece of [...pieces].sort((a, b) => a.start - b.start || b.end - a.end)) {
    if (piece.start < at) continue
    chosen.push(piece)
    at = piece.end
  }
  return chosen
}

/** The piece, or undefined where it is damaged, of another plan or processor, or gone. */
export async function readPiece(
  store: Store,
  piece: PieceRef,
  seal: PieceSeal,
  columns: TensorColumn[],
): Promise<PieceRows | undefined> {
  const bytes = await store.get(piece.name).catch(() => undefined)
  if (!bytes || createHash('sha256').update(bytes).digest('hex') !== piece.sha256) return undefined
  try {
    return decodePiece(bytes, piece, seal, columns)
  } catch {
    return undefined
  }
}

function decodePiece(
  bytes: Uint8Array,
  { name, start, end }: PieceRef,
  seal: PieceSeal,
  columns: TensorColumn[],
): PieceRows | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const length = Number(buffer.readBigUInt64LE())
  const header = parseSafetensorsHeader(buffer.toString('utf8', 8, 8 + length), 8 + length, bytes.length, name)
  if (header.metadata.plan !== seal.plan || header.metadata.processor !== seal.processor) return undefined
  const meta = metaSchema.parse(JSON.parse(header.metadata.piece ?? ''))
  const rows = meta.rows.map((row): RowMeta => ({ ...row, sha256: Uint8Array.from(Buffer.from(row.sha256, 'hex')) }))
  if (rows.length + meta.rejects.length !== end - start) return undefined
  const tensors: RowBatch['tensors'] = {}
  for (const column of columns) {
    const info = header.tensors.get(column.name)
    const type = DTYPES.find(([dtype]) => dtype === info?.dtype)?.[1]
    if (!info || !type || info.bytes !== rows.length * columnSize(column) * DTYPE_BYTES[info.dtype]) return undefined
    const copy = new Uint8Array(bytes.subarray(info.offset, info.offset + info.bytes)) // aligned, and alone in its memory
    tensors[column.name] = new type(
      copy.buffer,
      copy.byteOffset,
      copy.byteLength / type.BYTES_PER_ELEMENT,
    ) as TensorData
  }
  return { start, end, batch: { rows, tensors }, rejects: meta.rejects }
}

/** Deletes the pieces of units that `isDone`, and what is no piece; returns their names. */
export async function removePieces(store: Store, isDone: (unit: number) => boolean): Promise<string[]> {
  const names: string[] = []
  for await (const name of store.names(PIECES)) {
    const piece = parseName(name)
    if (!piece || isDone(piece.unit)) names.push(name)
  }
  for (const name of names) await store.delete(name)
  return names
}
