/** DEST of a training while it runs: a folder of this machine, claimed, with a plan of this kind or none. */
import { readdir, rmdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../errors.js'
import { claimFolder } from '../io/claim.js'
import { openStore } from '../io/open-store.js'
import { isWithin, realTarget } from '../io/real-path.js'
import { type Store, uriScheme } from '../io/store.js'
import { assertOwnFolders } from '../pipeline/ledger/open-run.js'
import { makeDest, removeRun } from '../pipeline/ledger/prepare-plan.js'
import { removeTraining, type StateEnding } from './folder.js'

export interface RunFolderOptions {
  dest: string
  overwrite: boolean
  ending: StateEnding
  /** What is trained on: its folders may neither be DEST, nor lie in it, nor hold it. */
  sources: readonly (string | undefined)[]
  /** What is read, too: nothing of it may lie where --overwrite deletes. */
  reads: readonly (string | undefined)[]
  /** Throws what is wrong with the request, and writes nothing: asked before anything is deleted. */
  check(): Promise<void>
  /** Throws where DEST holds a run of another command. */
  loadPlan(store: Store): Promise<object | undefined>
  onNote?: (line: string) => void
}

/**
 * Does `work` in DEST, and lets go of it; where that fails, folders that were made for it and are empty go. Throws usage errors `dest_not_local`, `dest_inside_source`,
 * `source_inside_dest`, `would_delete`, `out_not_empty`, `other_plan`, VtpError `in_use`.
 */
export async function inRunFolder<T>(options: RunFolderOptions, work: (store: Store) => Promise<T>): Promise<T> {
  const { dest } = options
  if (uriScheme(dest) !== undefined)
    throw usageError('dest_not_local', `--out ${dest}: a training writes to a folder of this machine`, [
      'give a folder, and copy it to the bucket when the training is done',
    ])
  await assertApart(options)
  const there = await readdir(dest).catch(() => [])
  const claimed = path.join(dest, '_vtp', 'training')
  const missing = await missingFolders(claimed)
  try {
    await makeDest(dest)
    return await inClaimed(options, { there, claimed }, work)
  } catch (error) {
    // What refuses a request leaves no empty folders behind; those that hold something stay.
    for (const folder of missing) await rmdir(folder).catch(() => {})
    throw error
  }
}

/** The folder and those above it that are not there, the innermost first. */
async function missingFolders(folder: string): Promise<string[]> {
  const missing: string[] = []
  for (let at = path.resolve(folder); !(await stat(at).catch(() => undefined)); at = path.dirname(at)) missing.push(at)
  return missing
}

async function inClaimed<T>(
  options: RunFolderOptions,
  { there, claimed }: { there: readonly string[]; claimed: string },
  work: (store: Store) => Promise<T>,
): Promise<T> {
  const { dest, overwrite, onNote, loadPlan } = options
  const store = await openStore(dest)
  try {
    await assertOwnFolders(store)
    const claim = await claimFolder(claimed, dest, { onNote })
    try {
      // A folder of another command is refused before anything is copied into it.
      if (overwrite) {
        if (there.length > 0) await startAnew(store, options)
      } else if (!(await loadPlan(store))) assertEmpty(dest, there)
      return await work(store)
    } finally {
      await claim.release()
    }
  } finally {
    await store.close()
  }
}

/** DEST must not take the place of what is read, and --overwrite must not delete it. */
async function assertApart({ dest, overwrite, sources, reads }: RunFolderOptions): Promise<void> {
  const target = await realTarget(dest)
  const local = (files: readonly (string | undefined)[]): string[] =>
    files.filter((file): file is string => file !== undefined && file !== '-' && uriScheme(file) === undefined)
  for (const source of local(sources)) {
    if (!(await stat(source).catch(() => undefined))?.isDirectory()) continue
    const real = await realTarget(source)
    if (isWithin(real, target))
      throw usageError('dest_inside_source', `The output folder ${dest} is the source ${source}, or lies inside it`, [
        'choose an --out folder outside of what is read',
      ])
    if (isWithin(target, real))
      throw usageError('source_inside_dest', `The source ${source} lies inside the output folder ${dest}`, [
        'choose an --out folder that does not hold what is read',
      ])
  }
  if (!overwrite) return
  for (const file of local([...sources, ...reads])) {
    // Names of models and the like are no files.
    if (!(await stat(file).catch(() => undefined)) || !isWithin(target, await realTarget(file))) continue
    throw usageError('would_delete', `${file} lies in ${dest}, where --overwrite deletes what a run has written`, [
      'choose another --out folder, or copy that file to another place first',
    ])
  }
}

/** What a shell or a queue writes beside a run. */
const BESIDE = /^\.|^_vtp$|\.(log|out|err)$/

/** A folder without a plan must hold nothing that would be written over, or be taken for this run's. */
function assertEmpty(dest: string, there: readonly string[]): void {
  const names = there.filter((name) => !BESIDE.test(name))
  if (names.length === 0) return
  const some = names.sort().slice(0, 3).join(', ')
  throw usageError(
    'out_not_empty',
    `--out ${dest} is not empty and holds no run to continue: ${some}${names.length > 3 ? ', …' : ''}`,
    [
      'choose another --out folder',
      'if a training was here, its folder _vtp is gone: give a copy of its newest checkpoint as --init',
      'pass --overwrite to delete checkpoints, samples and log there and start anew',
    ],
  )
}

async function startAnew(store: Store, { dest, ending, check }: RunFolderOptions): Promise<void> {
  await check()
  // Also where the plan is damaged or gone: the new run must not go on from what is left of the old one.
  await removeTraining(dest, ending)
  await removeRun(store)
}
