/**
 * Opens a DEST that holds a run. A DEST may be copied, unpacked or mounted from strangers: its own folders must
 * not be links, or what looks after a run would read and delete elsewhere.
 */
import { lstat } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../../errors.js'
import { openStore } from '../../io/open-store.js'
import { type Store, uriScheme } from '../../io/store.js'
import { FOLDERS } from './layout.js'
import { loadOutline, loadPlan, type Plan, type RunOutline } from './plan.js'

/** Opens DEST and its plan of `vtp encode`. Throws usage errors `no_plan`, `other_plan`, `linked_folder`. */
export async function openRun(dest: string): Promise<{ store: Store; plan: Plan }> {
  return openWith(dest, loadPlan)
}

/** Opens DEST and what the plans of all kinds of runs have. Throws usage errors `no_plan`, `linked_folder`. */
export async function openAnyRun(dest: string): Promise<{ store: Store; plan: RunOutline }> {
  return openWith(dest, loadOutline)
}

async function openWith<T>(
  dest: string,
  load: (store: Store) => Promise<T | undefined>,
): Promise<{ store: Store; plan: T }> {
  const store = await openStore(dest)
  try {
    await assertOwnFolders(store)
    const plan = await load(store)
    if (plan) return { store, plan }
    throw usageError('no_plan', `${dest} holds no plan of a run`, [
      'give the --out of `vtp encode`, `vtp plan` or `vtp generate`',
    ])
  } catch (error) {
    await store.close()
    throw error
  }
}

/** Throws usage error `linked_folder` where a folder of the run is a link. DEST itself may be one. */
export async function assertOwnFolders(store: Store): Promise<void> {
  if (uriScheme(store.uri) !== undefined) return
  for (const folder of FOLDERS) {
    const file = path.join(store.uri, folder)
    const info = await lstat(file).catch(() => undefined)
    if (!info?.isSymbolicLink()) continue
    throw usageError('linked_folder', `${file} is a link: links inside an output folder are not followed`, [
      'put a folder in its place, or give the folder that it points to as --out',
    ])
  }
}
