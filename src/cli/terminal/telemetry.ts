/**
 * What a run tells machines: `--log FILE` (JSON lines) and `--metrics` (Prometheus text, as a file for the
 * textfile collector or as an HTTP endpoint). Neither can make a run fail once it has started.
 */
import { createWriteStream } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import path from 'node:path'
import { errorText, usageError } from '../../errors.js'
import { writeAtomically } from '../../io/atomic.js'
import type { ProgressSnapshot } from '../../pipeline/stream/meter.js'
import type { RunEvent } from '../../pipeline/stream/run-events.js'
import type { WorkerPlace } from '../run/worker.js'
import { type MetricsState, metricsText } from './metrics-text.js'

const FILE_INTERVAL_MS = 10_000
const PROGRESS_INTERVAL_MS = 10_000

export interface TelemetryOptions {
  log?: string
  metrics?: string
  worker: WorkerPlace
  /** Whether object storage is in use: its counters are then told. */
  storage: boolean
}

export interface Telemetry {
  /** A line of the log. */
  log(event: string, fields?: Record<string, unknown>): void
  event(event: RunEvent): void
  progress(snapshot: ProgressSnapshot): void
  close(): Promise<void>
}

/** Throws usage errors when the log or the endpoint cannot be opened. */
export async function openTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  const { worker } = options
  const write = options.log === undefined ? undefined : await openLog(options.log)
  const state: MetricsState = {
    worker: String(worker.index),
    rejects: new Map(),
    seconds: new Map(),
    committed: { units: 0, rows: 0, bytes: 0 },
  }
  const text = async (): Promise<string> => {
    if (options.storage) state.storage = (await import('../../io/s3/client.js')).s3Counters()
    return metricsText(state)
  }
  const closeMetrics = options.metrics === undefined ? undefined : await openMetrics(options.metrics, text)
  let progressAt = 0
  const log = (event: string, fields: Record<string, unknown> = {}): void =>
    write?.line({ time: new Date().toISOString(), event, worker: worker.index, ...fields })
  const add = (map: Map<string, number>, key: string, value: number): void =>
    void map.set(key, (map.get(key) ?? 0) + value)
  return {
    log,
    event({ event, ...fields }) {
      if ('reject' in fields) {
        const { reject, ...rest } = fields
        add(state.rejects, reject.code, 1)
        log(event, { ...rest, ...reject })
        return
      }
      if ('rows' in fields) {
        state.committed.units++
        state.committed.rows += fields.rows
        state.committed.bytes += fields.bytes
        for (const [stage, seconds] of Object.entries(fields.seconds)) add(state.seconds, stage, seconds)
      }
      log(event, fields)
    },
    progress(snapshot) {
      state.progress = snapshot
      const now = performance.now()
      if (now - progressAt < PROGRESS_INTERVAL_MS) return
      progressAt = now
      log('progress', { ...snapshot })
    },
    async close() {
      await closeMetrics?.()
      await write?.close()
    },
  }
}

async function openLog(file: string): Promise<{ line(value: unknown): void; close(): Promise<void> }> {
  await mkdir(path.dirname(path.resolve(file)), { recursive: true }).catch(() => {})
  const stream = createWriteStream(file, { flags: 'a' })
  await new Promise<void>((resolve, reject) => {
    stream.once('open', () => resolve())
    stream.once('error', (error) =>
      reject(
        usageError('log_unwritable', `--log ${file} cannot be written: ${errorText(error)}`, ['choose another file']),
      ),
    )
  })
  let broken = false
  stream.on('error', () => {
    broken = true
  })
  return {
    line: (value) => {
      if (!broken) stream.write(`${JSON.stringify(value)}\n`)
    },
    close: () => new Promise((resolve) => (broken ? resolve() : stream.end(() => resolve()))),
  }
}

/** ":9464" or "host:9464" is an endpoint, anything else a file that is replaced as a whole. */
async function openMetrics(target: string, text: () => Promise<string>): Promise<() => Promise<void>> {
  const endpoint = /^([\w.-]*|\[[0-9a-f:]+\]):(\d{1,5})$/i.exec(target)
  if (endpoint) {
    const server = createServer((request, response) => {
      if (request.url !== '/metrics' && request.url !== '/') {
        response.writeHead(404).end()
        return
      }
      void text().then((body) => {
        response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(body)
      })
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) =>
        reject(usageError('metrics_unavailable', `--metrics ${target}: ${errorText(error)}`, ['choose another port'])),
      )
      server.listen(Number(endpoint[2]), endpoint[1] || undefined, resolve)
    })
    server.unref()
    return async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
  }
  const save = async (): Promise<void> => {
    const now = await text()
    await writeAtomically(target, (tmp) => writeFile(tmp, now))
  }
  try {
    await save()
  } catch (error) {
    throw usageError('metrics_unwritable', `--metrics ${target} cannot be written: ${errorText(error)}`, [
      'give a file, or an address such as :9464',
    ])
  }
  const timer = setInterval(() => void save().catch(() => {}), FILE_INTERVAL_MS)
  timer.unref()
  return async () => {
    clearInterval(timer)
    await save().catch(() => {})
  }
}
