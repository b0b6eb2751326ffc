/**
 * The log of a training, log.jsonl: one object per step, from what the step gave. It is cut back to the step that a
 * run is taken up at, so that it never holds a step twice; every number in it but times and rates is a function of the
 * plan.
 */
import { type FileHandle, open, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { writeAtomically } from '../io/atomic.js'
import { storageError } from '../io/storage-error.js'

export interface LogRecord {
  /** Steps that are done. */
  step: number
  /** Means over the batch. */
  mse: number
  /** Absent without the cosine loss. */
  cos?: number
  total: number
  /** Before clipping; null where gradients overflowed. */
  gradNorm: number | null
  lr: number
  /** What the loss was multiplied by; and that gradients overflowed, so that the step changed nothing. */
  lossScale?: number
  skipped?: true
  /** Passes over the data that are begun, fractions included; absent for given batches. */
  epoch?: number
  imagesPerSecond: number
  /** Waiting for data, the gradients, the optimiser, and the whole step. */
  seconds: { data: number; gradients: number; optimizer: number; step: number }
  /** Of samples of the averaged weights, where they were judged after this step. */
  fid?: number
  fidImages?: number
  protocol?: string
}

export interface RunLog<R extends { step: number }> {
  readonly records: readonly R[]
  append(record: R): Promise<void>
  /** Adds to the last record. */
  extend(more: Partial<R>): Promise<void>
  /** Makes what was appended durable. */
  sync(): Promise<void>
  close(): Promise<void>
}

/** Gaps in a log that a note names. */
const NAMED_RANGES = 5

const lineOf = (record: object): string => `${JSON.stringify(record)}\n`

/** The whole lines of a log. */
export async function readLog<R extends { step: number } = LogRecord>(file: string): Promise<R[]> {
  const text = await readFile(file, 'utf8').catch(() => '')
  const records: R[] = []
  for (const line of text.split('\n')) {
    if (line === '') continue
    try {
      records.push(JSON.parse(line) as R)
    } catch {
      // A line that a killed run has not finished: the step is done anew.
      break
    }
  }
  return records
}

/** What a log lacks, or has too often, of the steps after `after` up to `last`; undefined where nothing is wrong. */
export function wrongSteps(records: readonly { step: number }[], after: number, last: number): string | undefined {
  const held = new Set(records.map(({ step }) => step))
  const missing: { first: number; last: number }[] = []
  for (let step = after + 1; step <= last; step++) {
    if (held.has(step)) continue
    const range = missing.at(-1)
    if (range?.last === step - 1) range.last = step
    else missing.push({ first: step, last: step })
  }
  const inOrder = records.every(({ step }, i) => i === 0 || records[i - 1]!.step < step)
  if (missing.length === 0) return inOrder ? undefined : 'does not hold every step once and in order'
  const named = missing
    .slice(0, NAMED_RANGES)
    .map(({ first, last }) => (first === last ? first : `${first} to ${last}`))
  if (missing.length > NAMED_RANGES) named.push('…')
  const several = missing.length > 1 || missing[0]!.first < missing[0]!.last
  return `has no line of step${several ? 's' : ''} ${named.join(', ')}`
}

export interface OpenLogOptions {
  /** The step that the training began after: 0, or that of its start. */
  after: number
  onNote?: (line: string) => void
}

/** Opens the log with the records up to `step`. A note names steps that it does not hold once and in order. */
export async function openLog<R extends { step: number } = LogRecord>(
  file: string,
  step: number,
  { after, onNote }: OpenLogOptions,
): Promise<RunLog<R>> {
  const records = (await readLog<R>(file)).filter((record) => record.step <= step)
  const wrong = wrongSteps(records, after, step)
  if (wrong) onNote?.(`${path.basename(file)} ${wrong}. The training goes on; what is drawn from the log shows it.`)
  const rewrite = (): Promise<void> =>
    writeAtomically(file, (tmp) => writeFile(tmp, records.map(lineOf).join(''))).catch((error: unknown) => {
      throw storageError('Cannot write', file, error)
    })
  await rewrite()
  let handle: FileHandle = await open(file, 'a')
  return {
    records,
    async append(record) {
      records.push(record)
      await handle.write(lineOf(record)).catch((error: unknown) => {
        throw storageError('Cannot write', file, error)
      })
    },
    async extend(more) {
      Object.assign(records.at(-1)!, more)
      await handle.close()
      await rewrite()
      handle = await open(file, 'a')
    },
    sync: () => handle.sync(),
    close: () => handle.close(),
  }
}
