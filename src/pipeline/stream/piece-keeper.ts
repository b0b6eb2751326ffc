/**
 * Holds the batches of an open unit that no piece has yet, and writes them as one (ledger/pieces.ts). Runs in the
 * writer thread. What it may cost is bounded: a piece is due after some seconds or when much is held, and where
 * writing pieces takes more than a small share of the time, what is held is let go instead: there the work is
 * cheaper to do again than to keep.
 */
import path from 'node:path'
import { temporaryName } from '../../io/atomic.js'
import { encodeSafetensorsHeader } from '../../io/safetensors-header.js'
import { openFileSink } from '../../io/shards/file-sink.js'
import type { RowBatch, TensorColumn } from '../../types.js'
import { type PieceSeal, pieceEntry, pieceMetadata, pieceName } from '../ledger/piece-header.js'
import type { PlacedReject } from '../ledger/rejects.js'

export interface KeepSettings {
  /** A piece is due so long after the last one; 0 after every batch, whatever it costs. */
  everySeconds: number
  seal: PieceSeal
}

/** A finished piece: a local file and the name that it gets in DEST. */
export interface FinishedPiece {
  name: string
  path: string
  /** Entries of the listing that it holds. */
  entries: number
}

/** Bytes of tensors that are held, at most (and one batch more). */
const MOST_BYTES = 64 * 2 ** 20
/** The share of the time that pieces may take. */
const MOST_SHARE = 0.01
/** What may be spent beyond it: a few pieces of a short run. */
const FREE_SECONDS = 0.2

export interface PieceKeeper {
  open(unit: number): void
  /** Adds rows of the entries from `start` to before `end`. Returns the pieces that were due. */
  add(rows: { start: number; end: number; batch: RowBatch; rejects: PlacedReject[] }): Promise<FinishedPiece[]>
  /** Writes what is held; undefined when there is nothing. */
  take(): Promise<FinishedPiece | undefined>
  /** Lets go of what is held. */
  clear(): void
}

interface Held {
  start: number
  end: number
  batches: RowBatch[]
  rejects: PlacedReject[]
  bytes: number
}

export function createPieceKeeper(
  { everySeconds, seal }: KeepSettings,
  columns: TensorColumn[],
  tmpDir: string,
  now: () => number = () => performance.now() / 1000,
): PieceKeeper {
  const began = now()
  let unit = 0
  let held: Held | undefined
  let lastAt = began
  let spent = 0

  const take = async (): Promise<FinishedPiece | undefined> => {
    const piece = held
    held = undefined
    if (!piece) return undefined
    const startedAt = now()
    const file = temporaryName(path.join(tmpDir, `piece-${unit}-${piece.start}`))
    const finished = await writePiece(file, piece, seal, columns)
    lastAt = now()
    spent += lastAt - startedAt
    return {
      name: pieceName(unit, piece.start, piece.end, finished.sha256),
      path: file,
      entries: piece.end - piece.start,
    }
  }
  const affordable = (): boolean => everySeconds === 0 || spent <= FREE_SECONDS + MOST_SHARE * (now() - began)

  return {
    open(next) {
      unit = next
      held = undefined
      lastAt = now()
    },
    async add({ start, end, batch, rejects }) {
      const pieces: (FinishedPiece | undefined)[] = []
      // A piece that was taken up lies in between.
      if (held && held.end !== start) pieces.push(await take())
      held ??= { start, end: start, batches: [], rejects: [], bytes: 0 }
      held.end = end
      held.batches.push(batch)
      held.rejects.push(...rejects)
      for (const { name } of columns) held.bytes += batch.tensors[name]!.byteLength
      const full = held.bytes >= MOST_BYTES
      if (full && !affordable()) held = undefined
      else if (full || (now() - lastAt >= everySeconds && affordable())) pieces.push(await take())
      return pieces.filter((piece) => piece !== undefined)
    },
    take,
    clear() {
      held = undefined
    },
  }
}

async function writePiece(
  file: string,
  { batches, rejects }: Held,
  seal: PieceSeal,
  columns: TensorColumn[],
): Promise<{ sha256: string }> {
  const rows = batches.flatMap((batch) => batch.rows)
  const entries = columns.map((column) => pieceEntry(column, batches[0]!.tensors[column.name]!, rows.length))
  const header = encodeSafetensorsHeader(entries, pieceMetadata(seal, rows, rejects))
  const sink = await openFileSink(file)
  try {
    await sink.write(header.bytes)
    for (const { name } of header.order) {
      for (const { tensors } of batches) {
        const { buffer, byteOffset, byteLength } = tensors[name]!
        await sink.write(new Uint8Array(buffer, byteOffset, byteLength))
      }
    }
    return await sink.finish()
  } catch (error) {
    await sink.abort()
    throw error
  }
}
