/**
 * What is written once all units are committed: `_manifest.json` and, for latents, their statistics.
 * Everything is a pure function of the commits, so any number of workers may do it.
 */

import { createLimiter } from '../../async/stages.js'
import { EXIT, VtpError } from '../../errors.js'
import type { Store } from '../../io/store.js'
import { encodeLatentsStats } from '../../io/torch-stats.js'
import { type Moments, mergeMoments, momentsToStats } from '../../math/moments.js'
import { type Commit, readCommit } from './commits.js'
import { classMetadata, putCard } from './dataset-card.js'
import { LATENTS_STATS, MANIFEST } from './layout.js'
import type { Plan } from './plan.js'
import { addRejects, type RejectCounts, renameOldRejects } from './rejects.js'

/** Commits of an unfinished run that are read for its totals, at most. */
const MOST_COMMITS_READ = 2_000

export interface Totals {
  rows: number
  rejects: number
  rejectsByCode: RejectCounts
  bytes: number
  moments: Moments | null
}

/** Reads the commits of the given units, in order, and calls `visit` for each. */
export async function visitCommits(
  store: Store,
  units: number[],
  visit: (commit: Commit) => void | Promise<void>,
): Promise<void> {
  const limit = createLimiter(32)
  for (let i = 0; i < units.length; i += 256) {
    const part = units.slice(i, i + 256)
    const commits = await Promise.all(part.map((unit) => limit(() => readCommit(store, unit))))
    for (const commit of commits) await visit(commit)
  }
}

export interface ManifestFile {
  name: string
  rows: number
  bytes: number
  sha256: string
}

export function emptyTotals(): Totals {
  return { rows: 0, rejects: 0, rejectsByCode: {}, bytes: 0, moments: null }
}

export interface CommitSums {
  totals: Totals
  files: ManifestFile[]
  /** Kinds of processors that did units, sorted; empty where no commit says. */
  processors: string[]
}

/** Sums over the commits of all units, and whether their files are there. Throws VtpError `parts_missing`. */
export async function sumCommits(
  store: Store,
  units: number,
  rowsOf: (name: string, rows: number) => number = (_, rows) => rows,
): Promise<CommitSums> {
  const totals = emptyTotals()
  const files: ManifestFile[] = []
  const processors = new Set<string>()
  await visitCommits(store, [...Array(units).keys()], async (commit) => {
    totals.rows += commit.rows
    totals.rejects += commit.rejects
    await addRejects(store, totals.rejectsByCode, commit)
    if (commit.processor !== undefined) processors.add(commit.processor)
    for (const file of commit.files) {
      totals.bytes += file.bytes
      files.push({ ...file, rows: rowsOf(file.name, commit.rows) })
    }
    if (commit.moments) totals.moments = totals.moments ? mergeMoments(totals.moments, commit.moments) : commit.moments
  })
  await assertFilesThere(store, files)
  return { totals, files, processors: [...processors].sort() }
}

/** Writes the manifest (and `latents_stats.pt` for safetensors). Call it when every unit has its commit. */
export async function finalizeRun(store: Store, plan: Plan): Promise<Totals> {
  const { totals, files, processors } = await sumCommits(store, plan.units.length)
  const stats = totals.moments && totals.moments.count > 1 ? momentsToStats(totals.moments) : null
  if (stats && plan.format === 'safetensors') {
    await store.put(LATENTS_STATS, encodeLatentsStats(stats.mean, stats.std))
  }
  await putCard(store, plan)
  await renameOldRejects(store)
  const manifest = {
    version: 1,
    plan: plan.hash,
    images: plan.source.images,
    rows: totals.rows,
    rejects: totals.rejects,
    bytes: totals.bytes,
    format: plan.format,
    columns: plan.columns,
    classes: plan.classes,
    statistics: stats
      ? { latents: { mean: [...stats.mean], std: [...stats.std], count: totals.moments!.count } }
      : null,
    provenance: provenance(plan),
    processors,
    source: plan.source,
    files,
  }
  await store.put(MANIFEST, Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`))
  return totals
}

/** A commit says that its files were written; the manifest says that they are there. Throws VtpError `parts_missing`. */
async function assertFilesThere(store: Store, files: ManifestFile[]): Promise<void> {
  const sizes = new Map<string, number>()
  for await (const { name, size } of store.list('')) sizes.set(name, size)
  const lost = files.filter(({ name, bytes }) => sizes.get(name) !== bytes)
  if (lost.length === 0) return
  const more = lost.length > 1 ? ` and ${lost.length - 1} more` : ''
  throw new VtpError(`${lost[0]!.name}${more} in ${store.uri} is committed, but missing or of another size`, {
    code: 'parts_missing',
    exitCode: EXIT.rejects,
    suggestions: [
      'put the files back',
      `or run \`vtp verify ${store.uri} --repair\`, which opens their units again, and then the same command again`,
    ],
  })
}

/** What every shard says of its origin. No timestamps and no paths of this machine: bytes must repeat. */
/** `mean of the posterior`, or how it was drawn from. */
function describeLatents({ draw, seed }: NonNullable<Plan['latents']>): string {
  if (draw === 'mean') return 'mean of the posterior'
  return `mean + exp(logvar/2) · Philox4x32-10 noise by seed ${seed} and key`
}

export function provenance(plan: Plan): Record<string, string> {
  return {
    'vtp.plan': plan.hash,
    'vtp.model': plan.model.name,
    'vtp.model_digest': plan.model.digest,
    'vtp.transform': plan.transform,
    'vtp.outputs': plan.outputs.join(','),
    ...(plan.latents ? { 'vtp.latents': describeLatents(plan.latents) } : {}),
    'vtp.precision': plan.precision,
    'vtp.device': plan.device,
    'vtp.engine': plan.engine,
    'vtp.version': plan.vtp,
    ...classMetadata(plan),
  }
}

/** Sums over the commits that are there; over this worker's own where there are too many to read by every worker. */
export async function totalsSoFar(store: Store, committed: Set<number>, own: Totals): Promise<Totals> {
  if (committed.size <= MOST_COMMITS_READ) return partialTotals(store, committed)
  return { ...own, moments: null }
}

/** Totals of the units that are committed. */
async function partialTotals(store: Store, committed: Set<number>): Promise<Totals> {
  const totals = emptyTotals()
  const units = [...committed].sort((a, b) => a - b)
  await visitCommits(store, units, async (commit) => {
    totals.rows += commit.rows
    totals.rejects += commit.rejects
    await addRejects(store, totals.rejectsByCode, commit)
    for (const file of commit.files) totals.bytes += file.bytes
  })
  return totals
}
