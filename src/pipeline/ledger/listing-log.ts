/**
 * Pieces of a long listing, kept in DEST while a plan is made: `_vtp/planning/…`. A planner that died goes
 * on behind the last piece; pieces of yesterday are thrown away, as the bucket has changed since.
 */
import { createHash } from 'node:crypto'
import type { Store } from '../../io/store.js'
import type { ListingLog } from '../../types.js'
import { PLANNING } from './layout.js'

const USABLE_MS = 24 * 3600 * 1000

export interface StoredListingLog extends ListingLog {
  /** Deletes the pieces: the plan is stored. */
  clear(): Promise<void>
}

/** The log of one source in this store. `onResume` is told how many pieces an earlier planner has left. */
export async function openListingLog(
  store: Store,
  source: string,
  onResume?: (pieces: number) => void,
): Promise<StoredListingLog> {
  const prefix = `${PLANNING}${createHash('sha256').update(source).digest('hex').slice(0, 16)}/`
  const names: string[] = []
  let oldest = Number.POSITIVE_INFINITY
  for await (const { name, modifiedMs } of store.list(prefix)) {
    names.push(name)
    oldest = Math.min(oldest, modifiedMs ?? 0)
  }
  names.sort()
  const clear = async (): Promise<void> => {
    for (const name of names.splice(0)) await store.delete(name)
  }
  if (Date.now() - oldest > USABLE_MS) await clear()
  if (names.length > 0) onResume?.(names.length)
  let taken = false
  return {
    async *read() {
      for (const name of [...names]) yield await store.get(name)
    },
    async append(piece) {
      if (taken) return
      const name = `${prefix}${String(names.length).padStart(6, '0')}.json.gz`
      // Two planners at once: the first keeps the log, the other goes on without.
      if (await store.putIfAbsent(name, piece)) names.push(name)
      else taken = true
    },
    clear,
  }
}
