/**
 * The rows of a reconstruction's evaluation, one line per image in `rows.jsonl`, and where it stands. Numbers
 * are computed from these lines at the end, so an interrupted evaluation ends with the very numbers of an
 * uninterrupted one.
 */
import { VtpError } from '../../errors.js'
import type { ListingEntry, Reject } from '../../types.js'
import type { PairScores } from '../pairs/compare.js'
import { appendLines, readLines } from '../pass/append-file.js'
import type { NumberArrays } from '../pass/checkpoint.js'
import { openState, type StateOptions } from '../pass/state.js'

/** One line of rows.jsonl. `psnr` is null where it is infinite. */
export type EvalRow = { entry: ListingEntry; psnr?: number | null; ssim?: number; lpips?: number } | { reject: Reject }

export interface EvalProgress {
  /** Entries of the listing that are dealt with. */
  done: number
  rejects: number
}

export interface RunFolder {
  /** Where it stands, and stood when it was opened; whoever adds to the rows keeps it. */
  readonly progress: EvalProgress
  /** Moments as the last checkpoint holds them. */
  readonly moments: NumberArrays | undefined
  append(rows: EvalRow[]): Promise<void>
  /** Makes everything so far durable: if it is time, or in any case. */
  checkpoint(moments: () => Promise<NumberArrays>, always?: boolean): Promise<void>
  rows(): AsyncGenerator<EvalRow>
  firstRejects(count: number): Promise<Reject[]>
  /** `done`: nobody needs to continue. */
  close(done: boolean): Promise<void>
}

/** Opens or continues a run. Throws usage error `other_evaluation` when its folder holds another one. */
export async function openRunFolder(identity: Record<string, unknown>, options: StateOptions): Promise<RunFolder> {
  const state = await openState<EvalProgress>(identity, options)
  try {
    const rows = await state.openFile('rows.jsonl')
    const progress = state.head ?? { done: 0, rejects: 0 }
    return {
      progress,
      moments: state.arrays,
      append: (added) => appendLines(rows, added),
      checkpoint: async (moments, always = false) =>
        always
          ? state.checkpoint(progress, await moments())
          : state.checkpointWhenDue(async () => ({ head: progress, arrays: await moments() })),
      rows: () => readLines<EvalRow>(rows),
      async firstRejects(count) {
        const first: Reject[] = []
        for await (const row of readLines<EvalRow>(rows)) {
          if (!('reject' in row)) continue
          first.push(row.reject)
          if (first.length >= count) break
        }
        return first
      },
      close: state.close,
    }
  } catch (error) {
    await state.close(false)
    throw error
  }
}

/** JSON has no NaN: a line that holds null where a number belongs came from one. */
export function nonFinite(key: string, name: string, value: number | null): VtpError {
  return new VtpError(`The ${name} of ${key} is ${value ?? 'no number'}: the model made values that are not finite`, {
    code: 'non_finite',
    suggestions: ['use --precision fp32: narrow types overflow', 'check the model with `vtp model check`'],
  })
}

/** Scores as a line stores them; an infinite PSNR is an identical image. Throws VtpError `non_finite` for what is no score. */
export function scoresToRow(entry: ListingEntry, { psnr, ssim, lpips }: PairScores): EvalRow {
  const identical = psnr === Number.POSITIVE_INFINITY
  for (const [name, value] of Object.entries({ psnr: identical ? 0 : psnr, ssim, lpips }))
    if (value !== undefined && !Number.isFinite(value)) throw nonFinite(entry.key, name, value)
  return {
    entry,
    ...(psnr === undefined ? {} : { psnr: identical ? null : psnr }),
    ...(ssim === undefined ? {} : { ssim }),
    ...(lpips === undefined ? {} : { lpips }),
  }
}
