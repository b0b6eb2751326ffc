/** The lines of an evaluation of reconstructions, one per image. */
import { VtpError } from '../../errors.js'
import type { ListingEntry } from '../../types.js'
import type { PairScores } from '../pairs/scores.js'

/** `psnr` is null where it is infinite. */
export interface ReconRow {
  entry: ListingEntry
  psnr?: number | null
  ssim?: number
  lpips?: number
}

/** JSON has no NaN: a line that holds null where a number belongs came from one. */
export function nonFinite(key: string, name: string, value: number | null): VtpError {
  return new VtpError(`The ${name} of ${key} is ${value ?? 'no number'}: the model made values that are not finite`, {
    code: 'non_finite',
    suggestions: ['use --precision fp32: narrow types overflow', 'check the model with `vtp model check`'],
  })
}

/** Scores as a line stores them; an infinite PSNR is an identical image. Throws VtpError `non_finite` for what is no score. */
export function scoresToRow(entry: ListingEntry, { psnr, ssim, lpips }: PairScores): ReconRow {
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
