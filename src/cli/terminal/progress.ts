/** How a run goes on, as one line: what matters most comes first, and what does not fit is left out, never cut. */
import type { ProgressSnapshot } from '../../pipeline/stream/meter.js'
import { formatBytes, formatCount, formatDuration, formatPercent, formatRate, plural } from './format.js'

export type { ProgressSnapshot } from '../../pipeline/stream/meter.js'

/** `19 min 13 s left · 5.68 images/s · 34.5 % · 3,450/10,000 images · 2 rejects · units 3/10 · 1.20 MB/s · encode-bound` */
export function progressLine(snapshot: ProgressSnapshot, width = Number.POSITIVE_INFINITY): string {
  const { done, total, rejects, elapsedSeconds, etaSeconds, imagesPerSecond, bottleneck } = snapshot
  const parts: string[] = []
  if (etaSeconds !== null) parts.push(`${formatDuration(etaSeconds)} left`)
  // Until the first image is done, the model is opened: a speed of nought would say nothing.
  parts.push(imagesPerSecond > 0 ? formatRate(imagesPerSecond, 'images/s') : 'starting')
  if (total !== null) parts.push(total > 0 ? formatPercent(done / total) : formatPercent(1))
  parts.push(`${formatCount(done)}${total === null ? '' : `/${formatCount(total)}`} images`)
  // Runs that make images read none and reject none.
  if (snapshot.reads !== false) parts.push(plural(rejects, 'reject'))
  if (snapshot.unitsTotal > 0) parts.push(`units ${snapshot.unitsDone}/${snapshot.unitsTotal}`)
  if (snapshot.reads !== false && elapsedSeconds > 0 && snapshot.bytesRead > 0)
    parts.push(`${formatBytes(snapshot.bytesRead / elapsedSeconds)}/s`)
  if (bottleneck) parts.push(`bottleneck: ${bottleneck}`)
  let line = parts[0]!
  for (const part of parts.slice(1)) {
    if (line.length + 3 + part.length > width) break
    line += ` · ${part}`
  }
  return line
}
