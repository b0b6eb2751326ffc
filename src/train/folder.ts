/**
 * What a training keeps in DEST: checkpoints, and between them one point to resume from, which an interruption and the
 * clock write and the next checkpoint takes away. A state is a file, `checkpoints/0000100.pt` and
 * `_vtp/resume-0000057.pt`, or a folder of the same name without an ending.
 */
import { readdir, rm } from 'node:fs/promises'
import path from 'node:path'

const CHECKPOINTS = 'checkpoints'
export const LOG = 'log.jsonl'
export const REPORT = 'report.html'
const SAMPLES = 'samples'

export interface SavedState {
  step: number
  /** Relative to DEST. */
  name: string
}

/** What the name of a state ends with: files of train.py's layout, or folders. */
export type StateEnding = '.pt' | ''

/** 100 → "0000100.pt", as train.py names it. */
export const stateName = (step: number, ending: StateEnding): string => `${String(step).padStart(7, '0')}${ending}`

/** The step in a state's name; undefined for other names. */
export function stateStep(name: string, ending: StateEnding): number | undefined {
  const digits = name.endsWith(ending) ? name.slice(0, name.length - ending.length) : ''
  return /^\d{7,}$/.test(digits) ? Number(digits) : undefined
}

/** What the name of a point to resume from begins with. */
export const RESUME = 'resume-'

const namesIn = (folder: string): Promise<string[]> => readdir(folder).catch(() => [])

async function listStates(dest: string, folder: string, prefix: string, ending: StateEnding): Promise<SavedState[]> {
  const names = (await namesIn(path.join(dest, folder))).filter((name) => name.startsWith(prefix))
  return names
    .map((name) => ({ step: stateStep(name.slice(prefix.length), ending), name: `${folder}/${name}` }))
    .filter((state): state is SavedState => state.step !== undefined)
    .sort((a, b) => a.step - b.step)
}

/** Checkpoints, oldest first. */
export const listCheckpoints = (dest: string, ending: StateEnding): Promise<SavedState[]> =>
  listStates(dest, CHECKPOINTS, '', ending)

const listResumePoints = (dest: string, ending: StateEnding): Promise<SavedState[]> =>
  listStates(dest, '_vtp', RESUME, ending)

/** The newest state, a checkpoint before a resume point of the same step. */
export async function newestState(dest: string, ending: StateEnding): Promise<SavedState | undefined> {
  const all = [...(await listResumePoints(dest, ending)), ...(await listCheckpoints(dest, ending))]
  return all.reduce<SavedState | undefined>(
    (best, state) => (!best || state.step >= best.step ? state : best),
    undefined,
  )
}

export const statePath = (step: number, isCheckpoint: boolean, ending: StateEnding): SavedState => ({
  step,
  name: isCheckpoint ? `${CHECKPOINTS}/${stateName(step, ending)}` : `_vtp/${RESUME}${stateName(step, ending)}`,
})

const remove = (dest: string, name: string): Promise<void> =>
  rm(path.join(dest, name), { force: true, recursive: true })

/** Checkpoints that stay: the newest `keep` (default: all), and those of these names. */
export interface KeptStates {
  keep?: number
  also?: readonly string[]
}

/** Takes away what a newer state has made useless: other resume points, and checkpoints that do not stay. */
export async function removeOldStates(
  dest: string,
  newest: SavedState,
  ending: StateEnding,
  { keep, also = [] }: KeptStates,
): Promise<void> {
  for (const { name } of await listResumePoints(dest, ending)) if (name !== newest.name) await remove(dest, name)
  if (keep === undefined) return
  const old = (await listCheckpoints(dest, ending)).slice(0, -keep).filter(({ name }) => !also.includes(name))
  for (const { name } of old) await remove(dest, name)
}

/** What is drawn of a step: `samples/0000100.png`. */
export const pictureName = (step: number): string => `${SAMPLES}/${stateName(step, '')}.png`

/** Pictures of a training, oldest first. */
export async function listPictures(dest: string): Promise<SavedState[]> {
  const names = (await namesIn(path.join(dest, SAMPLES))).filter((name) => /^\d{7,}\.png$/.test(name)).sort()
  return names.map((name) => ({ step: Number(name.slice(0, -4)), name: `${SAMPLES}/${name}` }))
}

/** Takes away the output of a training. */
export async function removeTraining(dest: string, ending: StateEnding): Promise<void> {
  for (const { name } of await listCheckpoints(dest, ending)) await remove(dest, name)
  for (const { name } of await listPictures(dest)) await remove(dest, name)
  for (const name of [LOG, REPORT]) await remove(dest, name)
}
