/** `vtp finalize`: writes the manifest when every unit has its commit. The last worker does it by itself. */
import { committedUnits } from './commits.js'
import { finalizeRun, type Totals } from './finalize.js'
import { openRun } from './open-run.js'

export interface FinishResult {
  out: string
  complete: boolean
  /** Units without a commit, the first hundred. */
  missing: number[]
  missingCount: number
  totals: Omit<Totals, 'moments'> | null
}

export async function finishRun(dest: string): Promise<FinishResult> {
  const { store, plan } = await openRun(dest)
  try {
    const done = await committedUnits(store)
    const missing = [...plan.units.keys()].filter((unit) => !done.has(unit))
    if (missing.length > 0) {
      return { out: dest, complete: false, missing: missing.slice(0, 100), missingCount: missing.length, totals: null }
    }
    const { moments: _, ...totals } = await finalizeRun(store, plan)
    return { out: dest, complete: true, missing: [], missingCount: 0, totals }
  } finally {
    await store.close()
  }
}
