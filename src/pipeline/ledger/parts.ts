/** Parts that are already there under the name of one to be written: the same bytes, or others. */
import { setTimeout as sleep } from 'node:timers/promises'
import { VtpError } from '../../errors.js'
import type { Store } from '../../io/store.js'
import { type Commit, isCommitted, readCommit, replaceCommit } from './commits.js'
import { commitName } from './layout.js'

/** How long another worker may take between its part and its commit. */
export const COMMIT_WAIT_MS = 30_000

/**
 * - `same`: our own work of an earlier attempt, or another worker's: the same bytes.
 * - `committed`: other bytes, and a commit stands for them.
 * - `abandoned`: other bytes, and no commit came within `waitMs`: whoever wrote them is gone (or asleep).
 */
export type PartState = 'same' | 'committed' | 'abandoned'

export async function comparePart(
  store: Store,
  unit: number,
  name: string,
  sha256: string,
  waitMs: number,
): Promise<PartState> {
  if ((await store.sha256(name)) === sha256) return 'same'
  for (const end = Date.now() + waitMs; ; ) {
    if (await isCommitted(store, unit)) return 'committed'
    if (Date.now() >= end) return 'abandoned'
    await sleep(Math.min(1000, waitMs))
  }
}

function partConflict(store: Store, name: string): VtpError {
  return new VtpError(`${name} in ${store.uri} exists with other content than this run would write`, {
    code: 'part_conflict',
    suggestions: [
      'another kind of machine may have written it: run all workers on one kind',
      `delete ${name} if it is not needed, or start anew with --overwrite`,
    ],
  })
}

async function liesThere(store: Store, files: Commit['files']): Promise<boolean> {
  for (const { name, sha256 } of files) if ((await store.sha256(name)) !== sha256) return false
  return true
}

/**
 * After parts were replaced: the commit that counts must be of the parts that lie there. Where a sleeper woke
 * up and committed the parts that it had put before, its commit is replaced by `mine` when mine lie there.
 */
export async function settleReplaced(store: Store, mine: Commit, first: boolean): Promise<void> {
  if (first) return
  const there = await readCommit(store, mine.unit)
  if (JSON.stringify(there.files) === JSON.stringify(mine.files)) return
  if (await liesThere(store, mine.files)) await replaceCommit(store, mine)
}

/**
 * After a commit that came so late that another worker may have replaced its parts: a commit that is not of
 * the parts that lie there is taken back, unless the other one sets it right within `waitMs`. Throws
 * VtpError `part_conflict` then.
 */
export async function settleLate(store: Store, mine: Commit, waitMs: number): Promise<void> {
  for (const end = Date.now() + waitMs; ; ) {
    if (await liesThere(store, mine.files)) return
    const there = await readCommit(store, mine.unit)
    if (JSON.stringify(there.files) !== JSON.stringify(mine.files)) return
    if (Date.now() >= end) break
    await sleep(Math.min(1000, waitMs))
  }
  await store.delete(commitName(mine.unit))
  throw partConflict(store, mine.files[0]?.name ?? '')
}
