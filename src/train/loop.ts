/**
 * The loop of every training: steps from a state to the last one, each a line of the log, with states between them.
 *
 * Order at a step that is saved: the log's line, made durable; the state, which takes its name once it is whole; then
 * what is made of it (samples, evaluation, report), which a run that is taken up there makes up for.
 */
import { removeOldStates, type SavedState, type StateEnding, statePath } from './folder.js'
import type { RunLog } from './log.js'
import { createTrainMeter, type TrainProgress } from './progress.js'

/** What every line of a log has. */
export interface LoopRecord {
  /** Steps that are done. */
  step: number
  /** The loss that is minimised. */
  total: number
  imagesPerSecond: number
  /** Waiting for data, the parts of the work, and the whole step. */
  seconds: { data: number; step: number } & Record<string, number>
}

/** What a step gives: its line but for the times, and the seconds of its parts. */
export interface StepOutcome<R extends LoopRecord> {
  record: Omit<R, 'imagesPerSecond' | 'seconds'>
  seconds: Record<string, number>
}

export interface RunOutcome<R extends LoopRecord> {
  /** Of the steps that went well. */
  outcomes: StepOutcome<R>[]
  /** Why the next one did not. */
  failure?: Error
}

export interface TrainLoop<Batch, R extends LoopRecord> {
  dest: string
  ending: StateEnding
  log: RunLog<R>
  /** Images of a step. */
  batch: number
  /** Number of the last step. */
  steps: number
  saveEvery: number
  /** Newest checkpoints that are kept; default: all. */
  keep?: number
  /** Names of checkpoints that stay whatever `keep` says. */
  kept?(): readonly string[]
  /** Whether the state after a step is a checkpoint, besides those of `saveEvery`. */
  checkpointDue?(step: number): boolean
  /** How often a point to resume from is written between checkpoints. */
  checkpointSeconds?: number
  stop?: AbortSignal
  read(step: number): Promise<Batch>
  /** Steps that may be computed at once from now on; default: one. */
  atOnce?(): number
  /** The steps from `step` on, one for each batch; `newest` is the state that is there if one fails. */
  run(step: number, batches: Batch[], newest: SavedState | undefined): Promise<RunOutcome<R>>
  /** Writes the state after a step. */
  write(state: SavedState): Promise<void>
  /** Whether something is made of the state after a step, so that it must be saved. */
  looksDue(step: number): boolean
  /** Makes what is due and not there of a saved step; false when stopped. */
  lookAt(state: SavedState): Promise<boolean>
  onProgress?: (progress: TrainProgress) => void
}

export interface LoopResult {
  /** Steps that are done. */
  done: number
  newest: SavedState | undefined
  interrupted: boolean
  seconds: number
}

const DEFAULT_CHECKPOINT_SECONDS = 600

export const isDue = (step: number, every: number | undefined): boolean => every !== undefined && step % every === 0

/** From step `first`, which is done and lies in `from` (undefined: nowhere in DEST), to the last one. */
export async function runLoop<Batch, R extends LoopRecord>(
  loop: TrainLoop<Batch, R>,
  first: number,
  from: SavedState | undefined,
): Promise<LoopResult> {
  const { steps, log, stop } = loop
  const began = performance.now()
  const meter = createTrainMeter(steps, loop.batch)
  const save = createSaver(loop)
  let newest = from
  let interrupted = stop?.aborted ?? false
  if (from && !interrupted) interrupted = !(await loop.lookAt(from))
  let done = first
  let ahead = interrupted ? undefined : readAhead(loop, done)
  while (ahead && !interrupted) {
    const started = performance.now()
    const batches = await ahead
    const waited = performance.now()
    ahead = readAhead(loop, done + batches.length)
    const { outcomes, failure } = await loop.run(done + 1, batches, newest)
    const ended = performance.now()
    const stepMs = (ended - started) / outcomes.length
    for (const [i, { record, seconds }] of outcomes.entries()) {
      const all = { data: (waited - started) / 1000 / outcomes.length, ...seconds, step: stepMs / 1000 }
      await log.append(timed(record, all, loop.batch))
      done++
      loop.onProgress?.(meter.add(done, record.total, started + (i + 1) * stepMs))
    }
    if (failure) throw failure
    const stopping = stop?.aborted ?? false
    const saved = await save(done, stopping)
    if (saved) {
      newest = saved
      // Whoever stops does not wait for pictures: the next run makes up for them.
      interrupted = stopping || !(await loop.lookAt(saved))
      meter.pause()
    } else interrupted = stopping
  }
  await ahead?.catch(() => {})
  return { done, newest, interrupted, seconds: (performance.now() - began) / 1000 }
}

/** The batches of the steps that are computed at once after step `done`: up to the next one that is saved. */
function readAhead<Batch, R extends LoopRecord>(loop: TrainLoop<Batch, R>, done: number): Promise<Batch[]> | undefined {
  if (done >= loop.steps) return undefined
  const most = Math.min(loop.atOnce?.() ?? 1, loop.steps - done)
  let count = 1
  while (count < most && !isDue(done + count, loop.saveEvery) && !loop.looksDue(done + count)) count++
  const batches = Array.from({ length: count }, (_, i) => loop.read(done + 1 + i))
  const all = Promise.all(batches)
  // A failure is dealt with when the batches are awaited.
  all.catch(() => {})
  return all
}

function timed<R extends LoopRecord>(
  record: StepOutcome<R>['record'],
  seconds: LoopRecord['seconds'],
  batch: number,
): R {
  const rounded = Object.fromEntries(Object.entries(seconds).map(([name, value]) => [name, Number(value.toFixed(4))]))
  const imagesPerSecond = Number((batch / seconds.step).toFixed(3))
  return { ...record, imagesPerSecond, seconds: rounded } as unknown as R
}

/** Writes the state where it is due: a checkpoint, or a point to resume from; undefined where nothing is due. */
function createSaver<Batch, R extends LoopRecord>(loop: TrainLoop<Batch, R>) {
  const every = (loop.checkpointSeconds ?? DEFAULT_CHECKPOINT_SECONDS) * 1000
  let savedAt = performance.now()
  return async (step: number, stopping: boolean): Promise<SavedState | undefined> => {
    const isCheckpoint = isDue(step, loop.saveEvery) || step === loop.steps || (loop.checkpointDue?.(step) ?? false)
    const wanted = stopping || loop.looksDue(step) || performance.now() - savedAt > every
    if (!isCheckpoint && !wanted) return undefined
    await loop.log.sync()
    const state = statePath(step, isCheckpoint, loop.ending)
    await loop.write(state)
    await removeOldStates(loop.dest, state, loop.ending, {
      keep: isCheckpoint ? loop.keep : undefined,
      also: loop.kept?.(),
    })
    savedAt = performance.now()
    return state
  }
}
