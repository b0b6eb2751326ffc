/**
 * What an evaluation leaves behind to be continued: `run.json` (what is evaluated), `rows.jsonl` (one line
 * per image, appended) and `checkpoint.bin` (how far the two are, and the moments of the features).
 * A checkpoint replaces the one before atomically; lines behind it are cut off when a run continues, so
 * an interrupted evaluation ends with the very numbers of an uninterrupted one.
 */
import { type FileHandle, mkdir, open, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { usageError, VtpError } from '../../errors.js'
import { writeAtomically } from '../../model/cache.js'
import type { ListingEntry, Reject } from '../../types.js'
import type { CollectorState } from '../fid/collector.js'
import type { MomentsState } from '../fid/moments.js'
import type { PairScores } from '../pairs/compare.js'

/** One line of rows.jsonl. `psnr` is null where it is infinite. */
export type EvalRow = { entry: ListingEntry; psnr?: number | null; ssim?: number; lpips?: number } | { reject: Reject }

export interface EvalProgress {
  /** Entries of the listing that are dealt with. */
  done: number
  rejects: number
  rowsBytes: number
  moments?: { reference: CollectorState; reconstruction: CollectorState }
}

export interface RunFolder {
  readonly dir: string
  readonly progress: EvalProgress
  append(rows: EvalRow[]): Promise<void>
  /** Makes everything so far durable. */
  checkpoint(done: number, rejects: number, moments?: EvalProgress['moments']): Promise<void>
  rows(): AsyncGenerator<EvalRow>
  close(): Promise<void>
}

const RUN = 'run.json'
const ROWS = 'rows.jsonl'
const CHECKPOINT = 'checkpoint.bin'

/** Opens or continues a run. Throws usage error `other_evaluation` when the folder holds another one. */
export async function openRunFolder(
  dir: string,
  identity: Record<string, unknown>,
  overwrite: boolean,
): Promise<RunFolder> {
  await mkdir(dir, { recursive: true })
  const text = JSON.stringify(identity, null, 2)
  const there = await readFile(path.join(dir, RUN), 'utf8').catch(() => undefined)
  if (there !== undefined && there !== text && !overwrite) {
    throw usageError(
      'other_evaluation',
      `${path.dirname(dir)} holds another evaluation. What differs: ${differences(there, identity)}`,
      ['choose another --out folder', 'pass --overwrite to start anew in this one'],
    )
  }
  if (there === undefined || there !== text || overwrite) {
    for (const name of [CHECKPOINT, ROWS]) await rm(path.join(dir, name), { force: true })
    await writeAtomically(path.join(dir, RUN), (tmp) => writeFile(tmp, text))
  }
  const progress = (await readCheckpoint(path.join(dir, CHECKPOINT))) ?? { done: 0, rejects: 0, rowsBytes: 0 }
  const rowsFile = path.join(dir, ROWS)
  const handle: FileHandle = await open(rowsFile, 'a+')
  const { size } = await handle.stat()
  if (size < progress.rowsBytes) {
    await handle.close()
    throw new VtpError(`${rowsFile} is shorter than its checkpoint says`, {
      code: 'evaluation_damaged',
      suggestions: ['start anew with --overwrite'],
    })
  }
  await handle.truncate(progress.rowsBytes)
  let rowsBytes = progress.rowsBytes
  return {
    dir,
    progress,
    async append(rows) {
      const bytes = Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
      await handle.appendFile(bytes)
      rowsBytes += bytes.length
    },
    async checkpoint(done, rejects, moments) {
      await handle.datasync()
      await writeCheckpoint(path.join(dir, CHECKPOINT), { done, rejects, rowsBytes, ...(moments ? { moments } : {}) })
    },
    async *rows() {
      const reader = await open(rowsFile)
      try {
        for await (const line of reader.readLines()) yield JSON.parse(line) as EvalRow
      } finally {
        await reader.close().catch(() => {})
      }
    },
    close: () => handle.close(),
  }
}

function differences(there: string, now: Record<string, unknown>): string {
  let before: Record<string, unknown> = {}
  try {
    before = JSON.parse(there) as Record<string, unknown>
  } catch {}
  const names = Object.keys(now).filter((name) => JSON.stringify(before[name]) !== JSON.stringify(now[name]))
  return names
    .map((name) => `${name} (${JSON.stringify(before[name])} there, ${JSON.stringify(now[name])} now)`)
    .join(', ')
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

/** A JSON line with sizes, then the numbers of the moments (float64) one after the other. */
async function writeCheckpoint(file: string, progress: EvalProgress): Promise<void> {
  const { moments, ...head } = progress
  const states = moments ? [moments.reference.pool, moments.reconstruction.pool] : []
  const sizes = states.map((s) => ({ count: s.count, mean: s.mean.length, m2: s.m2.length, pending: s.pending.length }))
  await writeAtomically(file, async (tmp) => {
    const handle = await open(tmp, 'w')
    try {
      await handle.appendFile(`${JSON.stringify({ ...head, sizes })}\n`)
      for (const { mean, m2, pending } of states)
        for (const part of [mean, m2, pending])
          await handle.appendFile(new Uint8Array(part.buffer, part.byteOffset, part.byteLength))
      await handle.sync()
    } finally {
      await handle.close()
    }
  })
}

async function readCheckpoint(file: string): Promise<EvalProgress | undefined> {
  const bytes = await readFile(file).catch(() => undefined)
  if (!bytes) return undefined
  const end = bytes.indexOf(10)
  const { sizes, ...head } = JSON.parse(bytes.toString('utf8', 0, end)) as Omit<EvalProgress, 'moments'> & {
    sizes: { count: number; mean: number; m2: number; pending: number }[]
  }
  let at = end + 1
  const take = (length: number): Float64Array => {
    const part = Uint8Array.from(bytes.subarray(at, at + length * 8))
    at += length * 8
    return new Float64Array(part.buffer)
  }
  const states = sizes.map(
    (size): MomentsState => ({
      count: size.count,
      mean: take(size.mean),
      m2: take(size.m2),
      pending: take(size.pending),
    }),
  )
  if (at !== bytes.length)
    throw new VtpError(`${file} is damaged`, {
      code: 'evaluation_damaged',
      suggestions: ['start anew with --overwrite'],
    })
  const [reference, reconstruction] = states
  return {
    ...head,
    ...(reference && reconstruction
      ? { moments: { reference: { pool: reference }, reconstruction: { pool: reconstruction } } }
      : {}),
  }
}
