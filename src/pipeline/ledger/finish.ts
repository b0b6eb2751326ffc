/** `vtp finalize`: writes the manifest when every unit has its commit. The last worker does it by itself. */

import type { Store } from '../../io/store.js'
import { committedUnits } from './commits.js'
import { finalizeRun, type Totals } from './finalize.js'
import { removeLeftovers } from './job.js'
import { openAnyRun } from './open-run.js'
import { loadPlan, type RunKind } from './plan.js'

export interface FinishResult {
  out: string
  kind: RunKind
  complete: boolean
  /** Units without a commit, the first hundred. */
  missing: number[]
  missingCount: number
  totals: Omit<Totals, 'moments'> | null
}

/** Writes the manifest of a run of one kind. */
export type Finalizer = (store: Store) => Promise<Totals>

const encodeRun: Finalizer = async (store) => finalizeRun(store, (await loadPlan(store))!)

/** `others` finalizes kinds of runs that this layer does not know. */
export async function finishRun(
  dest: string,
  others: Record<Exclude<RunKind, 'encode'>, Finalizer>,
): Promise<FinishResult> {
  const { store, plan } = await openAnyRun(dest)
  try {
    const done = await committedUnits(store)
    const missing = [...plan.units.keys()].filter((unit) => !done.has(unit))
    if (missing.length > 0) {
      return {
        out: dest,
        kind: plan.kind,
        complete: false,
        missing: missing.slice(0, 100),
        missingCount: missing.length,
        totals: null,
      }
    }
    const finalize = plan.kind === 'encode' ? encodeRun : others[plan.kind]
    const { moments: _, ...totals } = await finalize(store)
    await removeLeftovers(store)
    return {
      out: dest,
      kind: plan.kind,
      complete: true,
      missing: [],
      missingCount: 0,
      totals,
    }
  } finally {
    await store.close()
  }
}
