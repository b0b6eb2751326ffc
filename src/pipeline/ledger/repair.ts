/**
 * Opens a unit again whose files are lost or damaged: its commit is set aside, nothing else is touched, and the next
 * run does the unit. The commit that is set aside tells what the files were, so that a damaged image is not taken for
 * one that an earlier attempt has finished. It goes when the unit is committed again.
 */
import { VtpError } from '../../errors.js'
import type { Store } from '../../io/store.js'
import { parseCommit } from './commits.js'
import { commitName, REPAIRS, unitName } from './layout.js'

const repairName = (unit: number): string => `${REPAIRS}${unitName(unit)}.json`

export async function reopenUnit(store: Store, unit: number): Promise<void> {
  await store.put(repairName(unit), await store.get(commitName(unit)))
  await store.delete(commitName(unit))
}

/** SHA-256 by name of the files that a unit had before it was opened again; undefined where it was not. */
export async function promisedSums(store: Store, unit: number): Promise<Map<string, string> | undefined> {
  let bytes: Uint8Array
  try {
    bytes = await store.get(repairName(unit))
  } catch (error) {
    if (error instanceof VtpError && error.code === 'not_found') return undefined
    throw error
  }
  const commit = parseCommit(bytes)
  // Where the commit itself was damaged, no file can be trusted.
  return new Map(commit.success ? commit.data.files.map(({ name, sha256 }) => [name, sha256]) : [])
}

/** The unit is committed again. */
export async function endRepair(store: Store, unit: number): Promise<void> {
  await store.delete(repairName(unit))
}
