/**
 * Workers on another kind of processor than the rest of a run. Their rows may differ in the last bits from those of
 * the others (never within one part), so the run's bytes depend on who did which unit: told, or refused.
 */
import { usageError } from '../../errors.js'
import type { Store } from '../../io/store.js'
import { committedUnits, readCommit } from './commits.js'

export interface ProcessorRequest {
  /** Of this machine. */
  processor: string
  sameProcessor?: boolean
  onNote?: (line: string) => void
}

interface Ledger {
  store: Store
  plan: { device: string; processor?: string }
}

/** The kind of processor that has begun the run: the plan's, else that of a commit. */
async function firstProcessor({ store, plan }: Ledger): Promise<string | undefined> {
  if (plan.processor !== undefined) return plan.processor
  const [unit] = await committedUnits(store)
  return unit === undefined ? undefined : (await readCommit(store, unit)).processor
}

/** Notes that this machine is of another kind, or throws usage error `other_processor`. A GPU computes the same under any CPU. */
export async function checkProcessor(ledger: Ledger, request: ProcessorRequest): Promise<void> {
  if (ledger.plan.device !== 'cpu') return
  const there = await firstProcessor(ledger)
  if (there === undefined || there === request.processor) return
  const what = `This processor (${request.processor}) is of another kind than the one that began the run (${there})`
  if (request.sameProcessor) {
    throw usageError('other_processor', what, [
      'run all workers on one kind of machine',
      'leave out --same-processor where the last bits of the rows do not matter',
    ])
  }
  request.onNote?.(`${what}: the last bits of its rows may differ. --same-processor refuses that.`)
}
