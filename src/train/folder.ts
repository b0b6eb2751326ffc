/**
 * What a training keeps in DEST: `checkpoints/0000100.pt`, and between them one point to resume from,
 * `_vtp/resume-0000057.pt`, which an interruption and the clock write and the next checkpoint takes away.
 */
import { readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { checkpointName, checkpointStep } from './checkpoint.js'

export const CHECKPOINTS = 'checkpoints'
export const LOG = 'log.jsonl'
export const REPORT = 'report.html'

export interface SavedState {
  step: number
  /** Relative to DEST. */
  name: string
}

const resumeName = (step: number): string => `_vtp/resume-${checkpointName(step)}`
const resumeStep = (name: string): number | undefined =>
  name.startsWith('resume-') ? checkpointStep(name.slice('resume-'.length)) : undefined

const namesIn = (folder: string): Promise<string[]> => readdir(folder).catch(() => [])

/** Checkpoints, oldest first. */
export async function listCheckpoints(dest: string): Promise<SavedState[]> {
  const names = await namesIn(path.join(dest, CHECKPOINTS))
  return names
    .map((name) => ({ step: checkpointStep(name), name: `${CHECKPOINTS}/${name}` }))
    .filter((state): state is SavedState => state.step !== undefined)
    .sort((a, b) => a.step - b.step)
}

async function listResumePoints(dest: string): Promise<SavedState[]> {
  const names = await namesIn(path.join(dest, '_vtp'))
  return names
    .map((name) => ({ step: resumeStep(name), name: `_vtp/${name}` }))
    .filter((state): state is SavedState => state.step !== undefined)
}

/** The newest state, a checkpoint before a resume point of the same step. */
export async function newestState(dest: string): Promise<SavedState | undefined> {
  const all = [...(await listResumePoints(dest)), ...(await listCheckpoints(dest))]
  return all.reduce<SavedState | undefined>(
    (best, state) => (!best || state.step >= best.step ? state : best),
    undefined,
  )
}

export const statePath = (step: number, isCheckpoint: boolean): SavedState => ({
  step,
  name: isCheckpoint ? `${CHECKPOINTS}/${checkpointName(step)}` : resumeName(step),
})

/** Takes away what a newer state has made useless: other resume points, and checkpoints beyond the newest `keep`. */
export async function removeOldStates(dest: string, newest: SavedState, keep: number | undefined): Promise<void> {
  for (const { name } of await listResumePoints(dest))
    if (name !== newest.name) await rm(path.join(dest, name), { force: true })
  if (keep === undefined) return
  for (const { name } of (await listCheckpoints(dest)).slice(0, -keep)) await rm(path.join(dest, name), { force: true })
}

/** Takes away the output of a training. */
export async function removeTraining(dest: string): Promise<void> {
  for (const { name } of await listCheckpoints(dest)) await rm(path.join(dest, name), { force: true })
  for (const name of await namesIn(path.join(dest, 'samples')))
    if (/^\d{7,}\.png$/.test(name)) await rm(path.join(dest, 'samples', name), { force: true })
  for (const name of [LOG, REPORT]) await rm(path.join(dest, name), { force: true })
}
