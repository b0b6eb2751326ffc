/**
 * Commits a unit: its files, then its rejects, and last its commit. A file that is there with other bytes belongs to
 * whoever commits it; where nobody does, it is replaced.
 */
import { rm } from 'node:fs/promises'
import type { Store } from '../../io/store.js'
import { type Commit, writeCommit } from './commits.js'
import { rejectsName } from './layout.js'
import { comparePart, settleLate, settleReplaced } from './parts.js'
import { encodeRejects, type PlacedReject } from './rejects.js'

/** A finished local file that is to become a file of the unit. */
export interface LocalPart {
  name: string
  path: string
  bytes: number
  sha256: string
}

export interface UnitFiles {
  /** Puts a file: whether it, or the same bytes, lie there now; false where another worker's commit stands for others. */
  put(part: LocalPart): Promise<boolean>
  /** Writes rejects and commit; whether this call made the commit. */
  commit(commit: Commit, rejects: PlacedReject[]): Promise<boolean>
}

/** `waitMs`: how long files of other bytes are left to the worker that may commit them; 0 when there is no other. */
export function openUnitFiles(store: Store, unit: number, waitMs: number): UnitFiles {
  let replaced = false
  /** When others could see the first file. */
  let beganAt = 0
  return {
    async put({ name, path, sha256 }) {
      if (!(await store.putFile(name, path, { ifAbsent: true, keepIfTaken: true, sha256 }))) {
        const state = await comparePart(store, unit, name, sha256, waitMs)
        if (state !== 'abandoned') {
          await rm(path, { force: true })
          if (state === 'same') beganAt = 1 // of an earlier attempt: others may have waited long
          return state === 'same'
        }
        await store.putFile(name, path, { ifAbsent: false, sha256 })
        replaced = true
      }
      beganAt ||= Date.now()
      return true
    },
    async commit(commit, rejects) {
      if (rejects.length > 0) await store.put(rejectsName(unit), encodeRejects(rejects))
      else if (replaced) await store.delete(rejectsName(unit))
      const first = await writeCommit(store, commit)
      if (replaced) await settleReplaced(store, commit, first)
      else if (first && waitMs > 0 && Date.now() - beganAt > waitMs / 2) await settleLate(store, commit, waitMs)
      return first
    },
  }
}
