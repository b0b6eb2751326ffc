/** Parts that are already there under the name of one to be written: the same bytes, or a conflict. */
import { setTimeout as sleep } from 'node:timers/promises'
import { VtpError } from '../errors.js'
import type { Store } from '../io/store.js'
import { isCommitted } from './commits.js'

/** How long another worker may take between its part and its commit. */
const COMMIT_WAIT_MS = 30_000

/**
 * A part of this name without a commit is our own work of an earlier attempt, or another worker's: the same
 * bytes. False when it differs and another worker's commit stands for it, which can only be where images
 * come and go while they are read.
 */
export async function isSamePart(store: Store, unit: number, name: string, sha256: string): Promise<boolean> {
  const there = await store.sha256(name)
  if (there === sha256) return true
  for (const end = Date.now() + COMMIT_WAIT_MS; ; ) {
    if (await isCommitted(store, unit)) return false
    if (Date.now() > end) break
    await sleep(1000)
  }
  throw new VtpError(`${name} in ${store.uri} exists with other content than this run would write (sha256 ${there})`, {
    code: 'part_conflict',
    suggestions: [
      'another kind of machine may have written it: run all workers on one kind',
      `delete ${name} if it is not needed, or start anew with --overwrite`,
    ],
  })
}
