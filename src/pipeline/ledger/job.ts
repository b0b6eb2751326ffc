/**
 * A job over the units of a plan, whatever they hold: which of them this worker takes, the markers of its attempts,
 * and what is done once every unit is committed. `vtp encode` and `vtp generate` are such jobs.
 *
 * A worker takes the units of its slice (or those given by number) that have no commit, then helps others. Every
 * unit gets a marker before it starts; on a clean end the markers go, so those that stay tell of deaths.
 */
import { assertConditionalWrites } from '../../io/probe.js'
import type { Store } from '../../io/store.js'
import { type Attempt, committedUnits, startAttempt } from './commits.js'
import { ATTEMPTS, REPAIRS } from './layout.js'
import { COMMIT_WAIT_MS } from './parts.js'
import { removePieces } from './pieces.js'
import { endRepair } from './repair.js'
import { assertUnitsExist, ownUnits, unitsToHelp, withoutCommit } from './units.js'

export interface JobRequest {
  worker: { index: number; count: number }
  /** Work only on these units. */
  units?: number[]
  helpOthers: boolean
  /** Stops cleanly: what is in flight is finished, nothing new is started. */
  stop?: AbortSignal
}

/** What DEST remembers of a run. */
export interface Ledger {
  store: Store
  plan: { units: { rows: number }[] }
}

export interface JobStart {
  /** Units that were committed before. */
  done: ReadonlySet<number>
  /** Images of those. */
  imagesDone: number
  /** Units of this worker that have no commit. */
  left: number[]
}

export interface StartedUnit {
  index: number
  attempt: Attempt
  /** To be called when the unit needs no further attempt: it is committed, by whomever. */
  settle(): Promise<void>
}

export interface JobSteps<T> {
  onStart(start: JobStart): void
  /** Does the units that the generator starts, in its order. Called only if there may be some. */
  work(units: AsyncIterable<StartedUnit>): Promise<void>
  /** Every unit is committed: whoever finds that may do this, several at once. */
  finish(): Promise<T>
  /** Some units are not committed. */
  partial(committed: Set<number>): Promise<T>
}

export interface JobEnd<T> {
  result: T
  complete: boolean
  unitsDone: number
}

/** Whether other workers may work on the same units. */
export function isShared({ worker, units }: Pick<JobRequest, 'worker' | 'units'>): boolean {
  return worker.count > 1 || units !== undefined
}

/** How long a part without a commit is left to the worker that may have put it; 0 when there is no other. */
export function commitWaitMs(request: JobRequest): number {
  return isShared(request) ? COMMIT_WAIT_MS : 0
}

/** Runs the job; resumable. Throws usage error `no_such_unit`, and what the steps throw. */
export async function runJob<T>({ store, plan }: Ledger, request: JobRequest, steps: JobSteps<T>): Promise<JobEnd<T>> {
  const all = [...plan.units.keys()]
  assertUnitsExist(request.units, all.length)
  if (isShared(request)) await assertConditionalWrites(store)
  const done = await committedUnits(store)
  const left = ownUnits(all, request.worker, request.units).filter((unit) => !done.has(unit))
  const imagesDone = all.reduce((sum, unit) => sum + (done.has(unit) ? plan.units[unit]!.rows : 0), 0)
  steps.onStart({ done, imagesDone, left })
  const helps = request.helpOthers && request.worker.count > 1 && !request.units
  if (left.length > 0 || (helps && done.size < all.length)) {
    // A kill may have come between a commit and the end of its pieces.
    if (done.size > 0) await removePieces(store, (unit) => done.has(unit))
    const open = new Map<number, Attempt>()
    try {
      await steps.work(startUnits(store, all, left, helps, request, open))
    } finally {
      await Promise.allSettled([...open.values()].map((attempt) => attempt.withdraw()))
    }
  }
  const now = await committedUnits(store)
  const committed = new Set(all.filter((unit) => now.has(unit)))
  const complete = committed.size === all.length
  const result = complete ? await steps.finish() : await steps.partial(committed)
  if (complete) await removeLeftovers(store)
  return { result, complete, unitsDone: committed.size }
}

/** Takes away what dead workers have left of units, once every unit is committed. */
export async function removeLeftovers(store: Store): Promise<void> {
  await removePieces(store, () => true)
  for (const prefix of [ATTEMPTS, REPAIRS]) {
    const names: string[] = []
    for await (const name of store.names(prefix)) names.push(name)
    for (const name of names) await store.delete(name)
  }
}

async function* startUnits(
  store: Store,
  all: number[],
  left: number[],
  helps: boolean,
  request: JobRequest,
  open: Map<number, Attempt>,
): AsyncGenerator<StartedUnit> {
  const { stop, worker } = request
  // A unit that is on its way here has no commit yet: it must not be taken for one to help with.
  const begun = new Set<number>()
  async function* next(): AsyncGenerator<number> {
    yield* isShared(request) ? withoutCommit(store, left) : left
    if (helps) yield* unitsToHelp(store, all, worker.index)
  }
  for await (const index of next()) {
    if (stop?.aborted) return
    if (begun.has(index)) continue
    begun.add(index)
    const attempt = await startAttempt(store, index)
    open.set(index, attempt)
    const settle = async (): Promise<void> => {
      open.delete(index)
      await attempt.withdraw()
      await endRepair(store, index)
    }
    yield { index, attempt, settle }
  }
}
