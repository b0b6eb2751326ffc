/** From the lines of an evaluation to its numbers, in one pass that keeps nothing. */
import { countReject, type RejectCounts } from '../../pipeline/ledger/rejects.js'
import { isReject, type RejectRow } from '../pass/pass.js'
import { nonFinite, type ReconRow } from './rows.js'

export interface ReconSummary {
  /** Images that were compared. */
  images: number
  /** Images that could not be read, by reason. */
  rejectsByCode: RejectCounts
  /** dB, mean over images; null when an image came back identical (the mean is infinite then, as in the official script). */
  psnr?: number | null
  /** Images that came back identical. */
  identical?: number
  /** Mean over the other images; only where some are identical. */
  psnrFinite?: number
  /** Mean of batch means, as the official script. */
  ssim?: number
  lpips?: number
  /** Plain means over images. */
  ssimPerImage?: number
  lpipsPerImage?: number
}

/** A mean of batch means beside the plain mean. */
function createMeans(batch: number) {
  let [sum, count, batchSum, batchCount, means, batches] = [0, 0, 0, 0, 0, 0]
  const close = (): void => {
    if (batchCount === 0) return
    means += batchSum / batchCount
    batches++
    batchSum = 0
    batchCount = 0
  }
  return {
    add(value: number): void {
      sum += value
      count++
      batchSum += value
      if (++batchCount === batch) close()
    },
    finish(): { plain: number; batched: number } | undefined {
      close()
      return count === 0 ? undefined : { plain: sum / count, batched: means / batches }
    },
  }
}

export async function summarize(
  rows: AsyncIterable<ReconRow | RejectRow>,
  protocolBatch: number,
): Promise<ReconSummary> {
  let images = 0
  const rejectsByCode: RejectCounts = {}
  let identical = 0
  let hasPsnr = false
  const psnr = createMeans(1)
  const ssim = createMeans(protocolBatch)
  const lpips = createMeans(protocolBatch)
  for await (const row of rows) {
    if (isReject(row)) {
      countReject(rejectsByCode, row.reject)
      continue
    }
    images++
    if (row.psnr !== undefined) hasPsnr = true
    if (row.psnr === null) identical++
    else if (row.psnr !== undefined) psnr.add(row.psnr)
    for (const [name, means] of [
      ['ssim', ssim],
      ['lpips', lpips],
    ] as const) {
      const value = row[name]
      if (value === null) throw nonFinite(row.entry.key, name, value)
      if (value !== undefined) means.add(value)
    }
  }
  const summary: ReconSummary = { images, rejectsByCode }
  const finite = psnr.finish()?.plain
  if (hasPsnr) {
    summary.psnr = identical > 0 ? null : finite!
    summary.identical = identical
    if (identical > 0 && finite !== undefined) summary.psnrFinite = finite
  }
  const ssims = ssim.finish()
  if (ssims) Object.assign(summary, { ssim: ssims.batched, ssimPerImage: ssims.plain })
  const distances = lpips.finish()
  if (distances) Object.assign(summary, { lpips: distances.batched, lpipsPerImage: distances.plain })
  return summary
}
