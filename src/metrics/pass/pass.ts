/**
 * One resumable pass over a set of images: every evaluation is one, and brings only what it measures of a batch and
 * what it keeps of that. `rows.jsonl` has a line for whatever is kept of each image, and one for each reject; with
 * the checkpoint's arrays they are all that the numbers are computed from, so an interrupted pass ends with the very
 * numbers of an undisturbed one.
 */
import { mapOrdered } from '../../async/stages.js'
import type { Reject } from '../../types.js'
import { type AppendFile, appendLines, readLines } from './append-file.js'
import type { NumberArrays } from './checkpoint.js'
import type { ImageBatch, ImageSet } from './image-set.js'
import { openState, type StateOptions } from './state.js'

export type RejectRow = { reject: Reject }

/** What a checkpoint says: entries of the listing that are dealt with, and the rejects among them. */
export interface PassProgress {
  done: number
  rejects: number
}

export interface PassSteps<Row, Measured> {
  set: ImageSet
  /** Batches that are measured at once, or wait to be kept. */
  inFlight: number
  /** The slow part: while the next batches are measured, the one before is kept. */
  measure(batch: ImageBatch): Promise<Measured>
  /** In the order of the set, without the batch's pixels; `first` counts the images before. Returns the lines to write, if there are any. */
  keep(batch: Omit<ImageBatch, 'data'>, measured: Measured, first: number): Promise<readonly Row[]>
  /** What a checkpoint needs besides the lines and files. Calls do not overlap those of `keep`. */
  arrays?(): Promise<NumberArrays>
  stop?: AbortSignal
  onImages?: (done: number, total: number, rejects: number) => void
}

export interface Pass<Row> {
  /** Where it stands; before `run`, where an interrupted process left it. */
  readonly progress: Readonly<PassProgress>
  /** What `arrays` gave for the last checkpoint. */
  readonly arrays: NumberArrays | undefined
  /** A file that only grows, as the last checkpoint left it; it is closed with the pass. */
  openFile(name: string): Promise<AppendFile>
  /** Goes on to the end of the set; false when it was stopped before. */
  run<Measured>(steps: PassSteps<Row, Measured>): Promise<boolean>
  /** All lines, in order. */
  rows(): AsyncGenerator<Row | RejectRow>
  firstRejects(count: number): Promise<Reject[]>
  /** `done`: nobody needs to continue. */
  close(done: boolean): Promise<void>
}

/** Opens or continues a pass. Throws usage error `other_evaluation` when its folder holds another one. */
export async function openPass<Row>(identity: Record<string, unknown>, options: StateOptions): Promise<Pass<Row>> {
  const state = await openState<PassProgress>(identity, options)
  const progress = { ...(state.head ?? { done: 0, rejects: 0 }) }
  let file: AppendFile
  try {
    file = await state.openFile('rows.jsonl')
  } catch (error) {
    await state.close(false)
    throw error
  }
  const rows = (): AsyncGenerator<Row | RejectRow> => readLines(file)
  return {
    progress,
    arrays: state.arrays,
    openFile: state.openFile,
    async run({ set, inFlight, measure, keep, arrays, stop, onImages }) {
      if (progress.done > 0) options.onNote?.(`Continuing: ${progress.done} of ${set.total} images are done.`)
      const snapshot = async () => ({ head: progress, arrays: await arrays?.() })
      const measured = mapOrdered(set.batches(progress.done), inFlight, async (batch) => {
        const result = batch.count > 0 && !stop?.aborted ? { of: await measure(batch) } : undefined
        batch.release()
        return { batch, result }
      })
      for await (const { batch, result } of measured) {
        if (stop?.aborted) break
        const kept = result ? await keep(batch, result.of, progress.done - progress.rejects) : []
        await appendLines(file, [...kept, ...batch.rejects.map((reject) => ({ reject }))])
        progress.done = batch.done
        progress.rejects += batch.rejects.length
        onImages?.(progress.done, set.total, progress.rejects)
        await state.checkpointWhenDue(snapshot)
      }
      const ended = progress.done >= set.total
      // What is deleted when it is done needs no last checkpoint.
      if (!ended || options.dir !== undefined || options.kept) {
        const { head, arrays: numbers } = await snapshot()
        await state.checkpoint(head, numbers)
      }
      return ended
    },
    rows,
    async firstRejects(count) {
      const first: Reject[] = []
      for await (const row of rows()) {
        if (isReject(row)) first.push(row.reject)
        if (first.length >= count) break
      }
      return first
    },
    close: state.close,
  }
}

/** Whether a line is that of a reject. */
export function isReject<Row>(row: Row | RejectRow): row is RejectRow {
  return typeof row === 'object' && row !== null && 'reject' in row
}
