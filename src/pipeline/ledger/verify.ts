/**
 * `vtp verify`: reads everything again and compares it with what the commits promise: bytes and SHA-256 of
 * every file, rows and their keys against the listing (each entry is a row or a reject, in order), keys
 * unique over the whole run, and the manifest against the commits.
 */
import { lstat, mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { mapOrdered } from '../../async/stages.js'
import { systemCode, VtpError } from '../../errors.js'
import { createExternalSorter, type ExternalSorter } from '../../io/external-sort.js'
import { parseListingEntry } from '../../io/listing.js'
import { openLocalStore } from '../../io/local-store.js'
import { openShard, shardName } from '../../io/shards/index.js'
import { storageError } from '../../io/storage-error.js'
import { type Store, uriScheme } from '../../io/store.js'
import { makeTempFolder } from '../../io/temp-folder.js'
import { type Commit, committedUnits, readCommit } from './commits.js'
import { MANIFEST, rejectsName } from './layout.js'
import { openAnyRun } from './open-run.js'
import { loadPlan, type Plan, type RunOutline } from './plan.js'
import { readUnitLines } from './prepare-plan.js'
import { readRejects } from './rejects.js'
import { reopenUnit } from './repair.js'

const UNITS_AT_ONCE = 4
const READ_ROWS = 1024
/** Failures of this machine, not of what it reads. */
const LOCAL_FAULTS = /^(ENOSPC|EDQUOT|EMFILE|ENFILE|ENOMEM|EROFS|EACCES|EPERM|EIO)$/
/** Problems that are told; the rest is counted. */
const MOST_TOLD = 100

export interface VerifyResult {
  out: string
  units: number
  unitsDone: number
  /** Rows and bytes that were read. */
  rows: number
  rejects: number
  bytes: number
  files: number
  complete: boolean
  finalized: boolean
  /** At most 100, each a sentence; `problemCount` counts all. */
  problems: string[]
  problemCount: number
  /** Units with lost or damaged files. */
  damaged: number[]
  /** Whether those were opened again: the next run does them. */
  reopened: boolean
}

export interface VerifyOptions {
  /** Opens units with lost or damaged files again: their commits are set aside, and nothing else changes. */
  repair?: boolean
  stop?: AbortSignal
  onProgress?: (done: number, total: number) => void
}

export async function verifyRun(dest: string, options: VerifyOptions = {}): Promise<VerifyResult> {
  const { store, plan } = await openAnyRun(dest)
  // Of runs that make images there is no listing: what the commits promise is all there is to compare.
  const listed = plan.kind === 'encode' ? await loadPlan(store) : undefined
  const keys = createExternalSorter()
  const result: VerifyResult = {
    out: dest,
    units: plan.units.length,
    unitsDone: 0,
    rows: 0,
    rejects: 0,
    bytes: 0,
    files: 0,
    complete: false,
    finalized: false,
    problems: [],
    problemCount: 0,
    damaged: [],
    reopened: false,
  }
  const problem = (text: string): void => {
    if (result.problemCount++ < MOST_TOLD) result.problems.push(text)
  }
  try {
    const done = [...(await committedUnits(store))].sort((a, b) => a - b)
    const known = done.filter((unit) => unit < plan.units.length)
    for (const unit of done.slice(known.length))
      problem(`there is a commit of unit ${unit}, which the plan does not have`)
    result.unitsDone = known.length
    result.complete = known.length === plan.units.length
    let checked = 0
    const damaged = new Set<number>()
    const checkUnit = (unit: number): Promise<Commit | undefined> =>
      verifyUnit(store, plan, listed, unit, keys, (text) => {
        damaged.add(unit)
        problem(text)
      })
    for await (const commit of mapOrdered(known, UNITS_AT_ONCE, checkUnit)) {
      options.stop?.throwIfAborted()
      if (commit) {
        result.rows += commit.rows
        result.rejects += commit.rejects
        result.files += commit.files.length
        for (const file of commit.files) result.bytes += file.bytes
      }
      options.onProgress?.(++checked, known.length)
    }
    let before: Buffer | undefined
    for await (const key of keys.sorted()) {
      if (before?.equals(key)) problem(`the key "${key}" is on more than one row`)
      before = key
    }
    await verifyManifest(store, plan, result, problem)
    result.damaged = [...damaged].sort((a, b) => a - b)
    if (options.repair) {
      for (const unit of result.damaged) await reopenUnit(store, unit)
      result.reopened = result.damaged.length > 0
    }
    return result
  } finally {
    await Promise.allSettled([keys.close(), store.close()])
  }
}

async function verifyUnit(
  store: Store,
  plan: RunOutline,
  listed: Plan | undefined,
  unit: number,
  keys: ExternalSorter,
  problem: (text: string) => void,
): Promise<Commit | undefined> {
  const remote = uriScheme(store.uri) !== undefined
  const folder = remote ? await makeTempFolder('verify') : store.uri
  const local = remote ? openLocalStore(folder) : store
  const trouble = (error: unknown): string => (error instanceof VtpError ? error.message : String(error))
  try {
    const commit = await readCommit(store, unit)
    if (![plan.hash, ...plan.grewFrom].includes(commit.plan)) problem(`unit ${unit} was committed by another plan`)
    if (commit.unit !== unit) problem(`the commit of unit ${unit} says that it is of unit ${commit.unit}`)
    for (const { name, bytes, sha256 } of commit.files) {
      if (remote) {
        const { downloadObject } = await import('../../io/s3/download.js')
        await mkdir(path.dirname(path.join(folder, name)), { recursive: true })
        await downloadObject(`${store.uri}/${name}`, path.join(folder, name)).catch((error: unknown) => {
          if (!(error instanceof VtpError) || error.code !== 'not_found') throw error
          return rm(path.join(folder, name), { force: true })
        })
      }
      const link = !remote && (await lstat(path.join(folder, name)).catch(() => undefined))?.isSymbolicLink()
      const there = await local.stat(name)
      if (link) problem(`${name} is a link: links inside an output folder are not followed`)
      else if (!there) problem(`${name} is missing`)
      else if (there.size !== bytes) problem(`${name} has ${there.size} bytes, its commit says ${bytes}`)
      else if ((await local.sha256(name)) !== sha256)
        problem(`${name} has other content than its commit says (SHA-256)`)
    }
    if (listed) {
      // The arrays of npy have names by the number of shards.
      const name = listed.format === 'npy' ? (commit.files[0]?.name ?? '') : shardName(listed.format, unit)
      await verifyRows(store, listed, commit, path.join(folder, name), keys, problem)
    } else if (commit.rows !== plan.units[unit]!.rows)
      problem(`unit ${unit} has ${commit.rows} images, its plan says ${plan.units[unit]!.rows}`)
    return commit
  } catch (error) {
    // What this machine or the service cannot do says nothing about the data.
    if (error instanceof VtpError && /^(s3_(?!changed)|storage_)/.test(error.code)) throw error
    if (LOCAL_FAULTS.test(systemCode(error) ?? '')) throw storageError('Cannot use', folder, error)
    problem(`unit ${unit}: ${trouble(error)}`)
    return undefined
  } finally {
    if (remote) await rm(folder, { recursive: true, force: true })
  }
}

/** Rows and rejects together are the unit's slice of the listing, in its order. */
async function verifyRows(
  store: Store,
  plan: Plan,
  commit: Commit,
  file: string,
  keys: ExternalSorter,
  problem: (text: string) => void,
): Promise<void> {
  const { unit } = commit
  const rejected = new Set<string>()
  if (commit.rejects > 0) {
    const rejects = await readRejects(store, unit)
    for (const { key } of rejects) rejected.add(key)
    if (rejects.length !== commit.rejects)
      problem(`${rejectsName(unit)} has ${rejects.length} lines, its commit says ${commit.rejects}`)
  }
  const expected = (await readUnitLines({ plan, store }, unit))
    .map((line) => parseListingEntry(line).key)
    .filter((key) => !rejected.has(key))
  const shard = await openShard(file)
  try {
    let at = 0
    let wrong: string | undefined
    for await (const { rows } of shard.read([], READ_ROWS)) {
      for (const { key } of rows) {
        if (key !== expected[at] && wrong === undefined) wrong = key
        at++
        await keys.add(Buffer.from(key))
      }
    }
    if (at !== commit.rows) problem(`unit ${unit} has ${at} rows, its commit says ${commit.rows}`)
    if (at !== expected.length) problem(`unit ${unit} has ${at} rows, the listing says ${expected.length}`)
    else if (wrong !== undefined) problem(`unit ${unit}: the row "${wrong}" is not the one of the listing`)
  } finally {
    await shard.close()
  }
}

async function verifyManifest(
  store: Store,
  plan: RunOutline,
  result: VerifyResult,
  problem: (text: string) => void,
): Promise<void> {
  if (!(await store.stat(MANIFEST))) return
  result.finalized = true
  try {
    const manifest = JSON.parse(Buffer.from(await store.get(MANIFEST)).toString()) as Record<string, unknown>
    if (manifest.plan !== plan.hash) problem(`${MANIFEST} is of another plan`)
    if (result.problemCount > 0) return
    for (const name of ['rows', 'rejects', 'bytes'] as const) {
      if (manifest[name] !== result[name])
        problem(`${MANIFEST} says ${name} ${manifest[name]}, the commits say ${result[name]}`)
    }
  } catch (error) {
    problem(`${MANIFEST} cannot be read (${error instanceof Error ? error.message : error})`)
  }
}
