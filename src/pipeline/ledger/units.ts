/**
 * Which units a worker takes: first those of its slice (unit mod count = index), then, when it helps
 * others, any that still have no commit, in an order of its own so that helpers seldom meet. Duplicated
 * work is safe: names are deterministic and the first commit counts.
 */
import { usageError } from '../../errors.js'
import type { Store } from '../../io/store.js'
import { committedUnits, isCommitted } from './commits.js'

/** The units of this worker's slice, or those that were given by number. */
export function ownUnits(all: number[], worker: { index: number; count: number }, given?: number[]): number[] {
  if (given) {
    const wanted = new Set(given)
    return all.filter((unit) => wanted.has(unit))
  }
  return all.filter((unit) => unit % worker.count === worker.index)
}

/** Throws usage error `no_such_unit` for a number that the plan does not have. */
export function assertUnitsExist(units: number[] | undefined, count: number): void {
  const bad = units?.find((unit) => unit >= count)
  if (bad === undefined) return
  throw usageError('no_such_unit', `--units names unit ${bad}, but the plan has ${count} (0 to ${count - 1})`, [
    'see `vtp status DEST` for the units that are left',
  ])
}

/** mulberry32: a small seeded generator, uniform in [0, 1). */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** Fisher-Yates shuffle of a copy, the same for the same seed. */
export function shuffled<T>(items: readonly T[], seed: number): T[] {
  const random = seededRandom(seed + 1)
  const out = [...items]
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[out[i], out[j]] = [out[j]!, out[i]!]
  }
  return out
}

/** Those of the given units that still have no commit, looked up again right before each one. */
export async function* withoutCommit(store: Store, units: number[]): AsyncGenerator<number> {
  for (const unit of units) if (!(await isCommitted(store, unit))) yield unit
}

/** Units of any worker without a commit, in this worker's own order. */
export async function* unitsToHelp(store: Store, all: number[], seed: number): AsyncGenerator<number> {
  const done = await committedUnits(store)
  yield* withoutCommit(
    store,
    shuffled(
      all.filter((unit) => !done.has(unit)),
      seed,
    ),
  )
}
