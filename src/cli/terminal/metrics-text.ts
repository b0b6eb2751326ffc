/** Counters of a run in Prometheus' text format (prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4). */
import type { ProgressSnapshot } from '../../pipeline/stream/meter.js'

export interface MetricsState {
  /** Labels of every sample. */
  worker: string
  progress?: ProgressSnapshot
  rejects: Map<string, number>
  /** Seconds of work per stage, of committed units. */
  seconds: Map<string, number>
  committed: { units: number; rows: number; bytes: number }
  storage?: { requests: Record<string, number>; retries: number; slowDowns: number; concurrencyLimit: number }
}

const quoted = (value: string): string => value.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n')

export function metricsText(state: MetricsState): string {
  const lines: string[] = []
  const metric = (
    name: string,
    type: 'counter' | 'gauge',
    help: string,
    samples: Iterable<[labels: Record<string, string>, value: number]>,
  ): void => {
    lines.push(`# HELP vtp_${name} ${help}`, `# TYPE vtp_${name} ${type}`)
    for (const [labels, value] of samples) {
      const all = Object.entries({ worker: state.worker, ...labels }).map(([key, text]) => `${key}="${quoted(text)}"`)
      lines.push(`vtp_${name}{${all.join(',')}} ${value}`)
    }
  }
  const one = (value: number): [Record<string, string>, number][] => [[{}, value]]
  const { progress, committed, storage } = state
  metric('rows_committed_total', 'counter', 'Rows in units that this worker has committed.', one(committed.rows))
  metric('units_committed_total', 'counter', 'Units that this worker has committed.', one(committed.units))
  metric('bytes_written_total', 'counter', 'Bytes of shards that this worker has committed.', one(committed.bytes))
  metric(
    'rejects_total',
    'counter',
    'Images that became no row, by reason.',
    [...state.rejects].map(([code, value]) => [{ code }, value]),
  )
  metric(
    'stage_seconds_total',
    'counter',
    'Seconds of work per stage, in committed units.',
    [...state.seconds].map(([stage, value]) => [{ stage }, value]),
  )
  if (progress) {
    metric('bytes_read_total', 'counter', 'Bytes of source images read.', one(progress.bytesRead))
    metric('images_done', 'gauge', 'Images of the run that are dealt with, as this worker knows.', one(progress.done))
    if (progress.total !== null) metric('images', 'gauge', 'Images of the run.', one(progress.total))
    metric('images_per_second', 'gauge', 'Images per second of this worker.', one(progress.imagesPerSecond))
    metric('units', 'gauge', 'Units of the run.', one(progress.unitsTotal))
  }
  if (storage) {
    metric(
      'storage_requests_total',
      'counter',
      'Requests to object storage, retries included.',
      Object.entries(storage.requests).map(([operation, value]) => [{ operation }, value]),
    )
    metric('storage_retries_total', 'counter', 'Requests that were tried again.', one(storage.retries))
    metric('storage_slow_downs_total', 'counter', 'Times the service asked to slow down.', one(storage.slowDowns))
    metric('storage_concurrency_limit', 'gauge', 'Requests that may run at once now.', one(storage.concurrencyLimit))
  }
  return `${lines.join('\n')}\n`
}
