/**
 * Shows how a run goes on: one line that updates itself on a terminal, plain lines every ten seconds
 * elsewhere (logs of a scheduler). Everything goes to stderr; nothing here decides anything.
 */
import type { ProgressSnapshot } from '../../pipeline/stream/meter.js'
import { formatBytes, formatCount, formatDuration, formatPercent, formatRate } from './format.js'

export type { ProgressSnapshot } from '../../pipeline/stream/meter.js'

/** Where progress is written: stderr, or a stand-in in tests. */
export interface ProgressStream {
  write(text: string): unknown
  columns?: number
}

export interface ProgressOptions {
  stream: ProgressStream
  isTty: boolean
  /** With `--json` the summary is left out: the object on stdout carries it. */
  json: boolean
  /** Milliseconds; for tests. */
  now?: () => number
}

export interface Progress {
  update(snapshot: ProgressSnapshot): void
  /** One line that stays. */
  note(line: string): void
  /** The final summary; ends the updating line. */
  finish(summaryLines: string[]): void
  /** Ends the updating line; safe to call more than once. */
  close(): void
}

const TTY_INTERVAL_MS = 100
const LOG_INTERVAL_MS = 10_000

/** Line start, erase to the end of the line. */
const CLEAR = '\r\u001b[K'

/** The methods use no `this`: they may be passed on as they are. */
export function createProgress({
  stream,
  isTty,
  json,
  now = performance.now.bind(performance),
}: ProgressOptions): Progress {
  let shown = ''
  let nextAt = isTty ? Number.NEGATIVE_INFINITY : now() + LOG_INTERVAL_MS

  const clear = (): void => {
    if (shown) stream.write(CLEAR)
    shown = ''
  }
  return {
    update(snapshot) {
      const time = now()
      if (time < nextAt) return
      nextAt = time + (isTty ? TTY_INTERVAL_MS : LOG_INTERVAL_MS)
      const line = progressLine(snapshot)
      if (!isTty) {
        stream.write(`${line}\n`)
        return
      }
      // A line that wraps could not be erased again.
      const width = Math.max(20, (stream.columns ?? 80) - 1)
      shown = line.length > width ? `${line.slice(0, width - 1)}…` : line
      stream.write(CLEAR + shown)
    },
    note(line) {
      const again = shown
      clear()
      stream.write(`${line}\n`)
      if (again) {
        shown = again
        stream.write(shown)
      }
    },
    finish(summaryLines) {
      clear()
      if (!json) for (const line of summaryLines) stream.write(`${line}\n`)
    },
    close: clear,
  }
}

/** `34.5 %  3,450/10,000 images  5.68 images/s  1.20 MB/s  2 rejects  unit 3/10  19 min 13 s left  (encode)` */
export function progressLine(snapshot: ProgressSnapshot): string {
  const { done, total, rejects, elapsedSeconds } = snapshot
  const parts: string[] = []
  if (total !== null) parts.push(total > 0 ? formatPercent(done / total) : formatPercent(1))
  parts.push(`${formatCount(done)}${total === null ? '' : `/${formatCount(total)}`} images`)
  parts.push(formatRate(snapshot.imagesPerSecond, 'images/s'))
  // Runs that make images read none and reject none.
  if (snapshot.reads !== false) {
    if (elapsedSeconds > 0 && snapshot.bytesRead > 0)
      parts.push(`${formatBytes(snapshot.bytesRead / elapsedSeconds)}/s`)
    parts.push(`${formatCount(rejects)} reject${rejects === 1 ? '' : 's'}`)
  }
  if (snapshot.unitsTotal > 0) parts.push(`units ${snapshot.unitsDone}/${snapshot.unitsTotal}`)
  if (snapshot.etaSeconds !== null) parts.push(`${formatDuration(snapshot.etaSeconds)} left`)
  if (snapshot.bottleneck) parts.push(`bottleneck: ${snapshot.bottleneck}`)
  return parts.join(' · ')
}
