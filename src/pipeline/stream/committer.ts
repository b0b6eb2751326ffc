/**
 * The end of the pipeline: appends batches to the unit's shard, keeps pieces of it meanwhile, and when it is complete
 * puts its files, then its rejects, and last its commit. The upload of one unit runs while the next one is written.
 */
import { rm } from 'node:fs/promises'
import { errorText } from '../../errors.js'
import type { ShardFiles } from '../../io/shards/index.js'
import type { Store } from '../../io/store.js'
import { openUnitFiles } from '../ledger/commit-unit.js'
import type { Commit } from '../ledger/commits.js'
import type { StartedUnit } from '../ledger/job.js'
import { countRejects, type PlacedReject } from '../ledger/rejects.js'
import type { EncodedBatch } from './batch.js'
import { nonFiniteReject } from './finite.js'
import type { BottleneckStage, Meter } from './meter.js'
import type { FinishedPiece } from './piece-keeper.js'
import type { RunEvent } from './run-events.js'
import type { UnitWriter } from './unit-writer.js'

export interface CommitterContext {
  store: Store
  /** What every commit of the run says. */
  run: Pick<Commit, 'plan' | 'processor'>
  writer: UnitWriter
  meter: Meter
  /** How long a part without a commit is left to the worker that may have put it; 0 when there is no other. */
  commitWaitMs: number
  onEvent?: (event: RunEvent) => void
  onNote?: (line: string) => void
  onCommit(commit: Commit, bytes: number): void
}

/** A unit on its way, and the pieces of it that lie in DEST. */
export interface OpenUnit extends StartedUnit {
  pieces: Set<string>
}

export interface Committer {
  /** Appends a batch; starts the commit after the last one of a unit. */
  write(unit: OpenUnit, batch: EncodedBatch, fromPiece: boolean): Promise<void>
  /** Keeps what is finished of the unit that is being written; returns its number and how many entries are kept now. */
  keep(): Promise<{ unit: number; entries: number } | undefined>
  /** Waits for the commit that is under way. Throws what it threw. */
  settled(): Promise<void>
}

export function createCommitter(context: CommitterContext): Committer {
  const { store, run, writer, meter, commitWaitMs, onEvent, onNote, onCommit } = context
  let rejects: PlacedReject[] = []
  let secondsBefore = meter.seconds()
  let committing: Promise<void> = Promise.resolve()
  let keeping: Promise<void> = Promise.resolve()
  /** The unit that is being written, and its entries so far. */
  let current: { unit: OpenUnit; entries: number } | undefined
  let unkept = false

  /** A piece that cannot be put costs nothing but itself. */
  const putPieces = (unit: OpenUnit, pieces: FinishedPiece[]): void => {
    for (const { name, path } of pieces) {
      unit.pieces.add(name)
      keeping = keeping.then(async () => {
        try {
          await store.putFile(name, path, { ifAbsent: true })
        } catch (error) {
          await rm(path, { force: true }).catch(() => {})
          if (!unkept) onNote?.(`The finished part of open units cannot be kept: ${errorText(error)}`)
          unkept = true
        }
      })
    }
  }

  const commitUnit = async (
    open: OpenUnit,
    shard: ShardFiles,
    placed: PlacedReject[],
    seconds: Record<string, number>,
  ): Promise<void> => {
    const { index } = open
    const unitFiles = openUnitFiles(store, index, commitWaitMs)
    const left = new Set(shard.files)
    let ours = true
    try {
      for (const file of shard.files) {
        ours = await unitFiles.put(file)
        left.delete(file)
        if (!ours) break
      }
    } finally {
      for (const { path } of left) await rm(path, { force: true })
    }
    if (ours) {
      const files = shard.files.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 }))
      const { rows, moments } = shard
      const rejectsByCode = placed.length > 0 ? { rejectsByCode: countRejects(placed.map(({ reject }) => reject)) } : {}
      const commit = { unit: index, ...run, rows, rejects: placed.length, ...rejectsByCode, files, moments, seconds }
      const first = await unitFiles.commit(commit, placed)
      meter.unitsDone++
      const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
      onEvent?.({ event: 'unit_committed', unit: index, rows, rejects: placed.length, bytes, seconds, first })
      onCommit(commit, bytes)
    }
    // Where another worker's commit stands, this one's work on the unit is not needed.
    await open.settle()
    await keeping
    for (const name of open.pieces) await store.delete(name)
  }

  /** Seconds of work since the last call, per stage. */
  const takeSeconds = (): Record<string, number> => {
    const now = meter.seconds()
    const entries = Object.entries(now).map(([stage, value]): [string, number] => {
      return [stage, Number((value - secondsBefore[stage as BottleneckStage]).toFixed(3))]
    })
    secondsBefore = now
    return Object.fromEntries(entries)
  }

  return {
    write(unit, batch, fromPiece) {
      return meter.clocks.write.time(async () => {
        if (batch.start === 0) {
          rejects = []
          current = { unit, entries: 0 }
          await writer.open(unit.index, batch.job.unit.rows)
        }
        const before = rejects.length
        rejects.push(...batch.rejects)
        const end = batch.start + batch.entries.length
        const { start, positions } = batch
        const place = { start, end, positions, rejects: batch.rejects }
        const { dropped, pieces } = await writer.append(batch.batch, fromPiece ? undefined : place)
        putPieces(unit, pieces)
        for (const { index, column } of dropped) {
          rejects.push({ position: positions[index]!, reject: nonFiniteReject(batch.rows[index]!, column) })
        }
        meter.rejects += rejects.length - before
        if (fromPiece) meter.takenUp += batch.entries.length
        else {
          meter.images += batch.entries.length
          for (const { reject } of rejects.slice(before)) onEvent?.({ event: 'reject', unit: unit.index, reject })
        }
        if (current) current.entries = end
        if (!batch.last) return
        current = undefined
        const shard = await writer.finish()
        const placed = rejects.sort((a, b) => a.position - b.position)
        const seconds = takeSeconds()
        await committing
        committing = commitUnit(unit, shard, placed, seconds)
        committing.catch(() => {})
      })
    },
    async keep() {
      if (!current) return undefined
      const piece = await writer.keep()
      if (piece) putPieces(current.unit, [piece])
      await keeping
      return unkept ? undefined : { unit: current.unit.index, entries: current.entries }
    },
    settled: async () => {
      await committing
      await keeping
    },
  }
}
