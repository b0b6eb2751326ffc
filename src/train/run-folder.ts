/** DEST of a training while it runs: a folder of this machine, claimed, with a plan of this kind or none. */
import path from 'node:path'
import { usageError } from '../errors.js'
import { claimFolder } from '../io/claim.js'
import { openStore } from '../io/open-store.js'
import { type Store, uriScheme } from '../io/store.js'
import { assertOwnFolders } from '../pipeline/ledger/open-run.js'
import { makeDest, removeRun } from '../pipeline/ledger/prepare-plan.js'
import { removeTraining, type StateEnding } from './folder.js'

export interface RunFolderOptions {
  dest: string
  overwrite: boolean
  ending: StateEnding
  /** Throws where DEST holds a run of another command. */
  loadPlan(store: Store): Promise<object | undefined>
  onNote?: (line: string) => void
}

/** Does `work` in DEST, and lets go of it. Throws usage errors `dest_not_local`, `other_plan`, VtpError `in_use`. */
export async function inRunFolder<T>(options: RunFolderOptions, work: (store: Store) => Promise<T>): Promise<T> {
  const { dest, overwrite, onNote, loadPlan } = options
  if (uriScheme(dest) !== undefined)
    throw usageError('dest_not_local', `--out ${dest}: a training writes to a folder of this machine`, [
      'give a folder, and copy it to the bucket when the training is done',
    ])
  await makeDest(dest)
  const store = await openStore(dest)
  try {
    await assertOwnFolders(store)
    const claim = await claimFolder(path.join(dest, '_vtp', 'training'), dest, { onNote })
    try {
      if (overwrite) await startAnew(store, options)
      // A folder of another command is refused before anything is copied into it.
      await loadPlan(store)
      return await work(store)
    } finally {
      await claim.release()
    }
  } finally {
    await store.close()
  }
}

async function startAnew(store: Store, { dest, ending, loadPlan }: RunFolderOptions): Promise<void> {
  const isTraining = await loadPlan(store).then(
    (plan) => plan !== undefined,
    () => false,
  )
  if (isTraining) await removeTraining(dest, ending)
  await removeRun(store)
}
