/**
 * The end of the pipeline: appends batches to the unit's shard, and when it is complete puts its files,
 * then its rejects, and last its commit. The upload of one unit runs while the next one is written.
 */
import { rm } from 'node:fs/promises'
import type { ShardFiles } from '../../io/shards/index.js'
import type { Store } from '../../io/store.js'
import { type Attempt, type Commit, writeCommit } from '../ledger/commits.js'
import { rejectsName } from '../ledger/layout.js'
import { comparePart, settleLate, settleReplaced } from '../ledger/parts.js'
import type { Plan } from '../ledger/plan.js'
import { countRejects, encodeRejects, type PlacedReject } from '../ledger/rejects.js'
import type { EncodedBatch } from './batch.js'
import { nonFiniteReject } from './finite.js'
import type { BottleneckStage, Meter } from './meter.js'
import type { RunEvent } from './run-events.js'
import type { UnitWriter } from './unit-writer.js'

export interface CommitterContext {
  store: Store
  plan: Plan
  writer: UnitWriter
  meter: Meter
  /** Markers of units that are not committed yet. */
  attempts: Map<number, Attempt>
  /** How long a part without a commit is left to the worker that may have put it; 0 when there is no other. */
  commitWaitMs: number
  onEvent?: (event: RunEvent) => void
  onCommit(commit: Commit, bytes: number): void
}

export interface Committer {
  /** Appends a batch; starts the commit after the last one of a unit. */
  write(batch: EncodedBatch): Promise<void>
  /** Waits for the commit that is under way. Throws what it threw. */
  settled(): Promise<void>
}

export function createCommitter(context: CommitterContext): Committer {
  const { store, plan, writer, meter, attempts, commitWaitMs, onEvent, onCommit } = context
  let rejects: PlacedReject[] = []
  let secondsBefore = meter.seconds()
  let committing: Promise<void> = Promise.resolve()

  const commitUnit = async (
    unit: number,
    shard: ShardFiles,
    placed: PlacedReject[],
    seconds: Record<string, number>,
  ): Promise<void> => {
    const files = shard.files.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 }))
    const began = { at: 0 }
    const replaced = await putParts(unit, shard, began)
    if (replaced === undefined) return yieldTo(unit)
    if (placed.length > 0) await store.put(rejectsName(unit), encodeRejects(placed))
    else if (replaced) await store.delete(rejectsName(unit))
    const commit: Commit = {
      unit,
      plan: plan.hash,
      rows: shard.rows,
      rejects: placed.length,
      ...(placed.length > 0 && { rejectsByCode: countRejects(placed.map(({ reject }) => reject)) }),
      files,
      moments: shard.moments,
      seconds,
    }
    const first = await writeCommit(store, commit)
    if (replaced) await settleReplaced(store, commit, first)
    else if (first && commitWaitMs > 0 && Date.now() - began.at > commitWaitMs / 2)
      await settleLate(store, commit, commitWaitMs)
    attempts.delete(unit)
    meter.unitsDone++
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
    onEvent?.({ event: 'unit_committed', unit, rows: shard.rows, rejects: placed.length, bytes, seconds, first })
    onCommit(commit, bytes)
  }

  /**
   * Puts the unit's files: whether that replaced some; undefined when another worker's commit stands. `began.at`
   * is when others could see the first of them.
   */
  const putParts = async (unit: number, shard: ShardFiles, began: { at: number }): Promise<boolean | undefined> => {
    let replaced = false
    const left = new Set(shard.files.map(({ path }) => path))
    try {
      for (const { name, path, sha256 } of shard.files) {
        if (!(await store.putFile(name, path, { ifAbsent: true, keepIfTaken: true, sha256 }))) {
          const state = await comparePart(store, unit, name, sha256, commitWaitMs)
          if (state === 'committed') return undefined
          if (state === 'same') {
            began.at = 1 // of an earlier attempt: others may have waited long
            continue
          }
          await store.putFile(name, path, { ifAbsent: false, sha256 })
          replaced = true
        }
        left.delete(path)
        began.at ||= Date.now()
      }
      return replaced
    } finally {
      for (const path of left) await rm(path, { force: true })
    }
  }

  /** Another worker's commit stands: this one's work on the unit is not needed. */
  const yieldTo = async (unit: number): Promise<void> => {
    await attempts.get(unit)?.withdraw()
    attempts.delete(unit)
  }

  return {
    async write(batch) {
      return meter.clocks.write.time(async () => {
        if (batch.start === 0) {
          rejects = []
          await writer.open(batch.job.index)
        }
        const before = rejects.length
        rejects.push(...batch.rejects)
        const dropped = await writer.append(batch.batch)
        for (const { index, column } of dropped) {
          rejects.push({ position: batch.positions[index]!, reject: nonFiniteReject(batch.rows[index]!, column) })
        }
        for (const { reject } of rejects.slice(before)) onEvent?.({ event: 'reject', unit: batch.job.index, reject })
        meter.images += batch.entries.length
        meter.rejects += rejects.length - before
        if (!batch.last) return
        const shard = await writer.finish()
        const placed = rejects.sort((a, b) => a.position - b.position)
        const now = meter.seconds()
        const seconds = Object.fromEntries(
          Object.entries(now).map(([stage, value]) => [
            stage,
            Number((value - secondsBefore[stage as BottleneckStage]).toFixed(3)),
          ]),
        )
        secondsBefore = now
        await committing
        committing = commitUnit(batch.job.index, shard, placed, seconds)
        committing.catch(() => {})
      })
    },
    settled: () => committing,
  }
}
