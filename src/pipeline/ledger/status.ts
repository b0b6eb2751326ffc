/** `vtp status`: how far a run has come, over all its workers, from what lies in DEST alone: names of commits, attempts and pieces. */
import type { Store } from '../../io/store.js'
import { visitCommits } from './finalize.js'
import { ATTEMPTS, COMMITS, isDataName, MANIFEST } from './layout.js'
import { openAnyRun } from './open-run.js'
import { keptEntries } from './pieces.js'
import type { RunOutline } from './plan.js'

export interface StartedUnit {
  unit: number
  /** How often the unit was started; more than one where workers died or helped each other. */
  attempts: number
  /** Since the last start; null where the store does not tell. */
  secondsAgo: number | null
}

export interface RunStatus {
  out: string
  plan: string
  images: number
  /** Images (rows and rejects) of committed units. */
  imagesDone: number
  units: number
  unitsDone: number
  /** Started and not committed: being encoded, or left by a worker that died. */
  started: StartedUnit[]
  /** Sums over commits; null where there are too many to read at once. */
  rows: number | null
  rejects: number | null
  /** Seconds of work per stage, summed over workers. */
  seconds: Record<string, number> | null
  /** Over the commits of the last ten minutes; null without any. */
  imagesPerSecond: number | null
  etaSeconds: number | null
  /** Images of open units that pieces hold: they need not be done again. */
  imagesKept: number
  /** Committed units whose files are missing or of another size, the first hundred; null where there are too many to look at. */
  damaged: number[] | null
  /** Every unit is committed. */
  complete: boolean
  /** The manifest is written, and no file of a commit is missing. */
  finalized: boolean
}

const RATE_WINDOW_MS = 10 * 60_000
/** With more commits than this their contents are not read. */
const MOST_READ = 5_000

export async function runStatus(dest: string): Promise<RunStatus> {
  const { store, plan } = await openAnyRun(dest)
  try {
    return await statusOf(store, plan, dest)
  } finally {
    await store.close()
  }
}

async function statusOf(store: Store, plan: RunOutline, dest: string): Promise<RunStatus> {
  const now = Date.now()
  const done = new Map<number, number>()
  for await (const { name, modifiedMs } of store.list(COMMITS)) {
    const match = /^(\d{5,})\.json$/.exec(name.slice(COMMITS.length))
    if (match && Number(match[1]) < plan.units.length) done.set(Number(match[1]), modifiedMs ?? 0)
  }
  const started = new Map<number, StartedUnit>()
  for await (const { name, modifiedMs } of store.list(ATTEMPTS)) {
    const match = /^(\d{5,})\.(\d+)$/.exec(name.slice(ATTEMPTS.length))
    const unit = Number(match?.[1])
    if (!match || done.has(unit)) continue
    const secondsAgo = modifiedMs === undefined ? null : Math.max(0, (now - modifiedMs) / 1000)
    const before = started.get(unit)
    started.set(unit, {
      unit,
      attempts: Math.max(before?.attempts ?? 0, Number(match[2])),
      secondsAgo:
        before?.secondsAgo == null ? secondsAgo : Math.min(before.secondsAgo, secondsAgo ?? before.secondsAgo),
    })
  }
  const sums = { rows: 0, rejects: 0, seconds: {} as Record<string, number> }
  const readable = done.size <= MOST_READ
  const damaged: number[] = []
  if (readable) {
    const sizes = await dataSizes(store)
    await visitCommits(
      store,
      [...done.keys()].sort((a, b) => a - b),
      (commit) => {
        if (commit.files.some(({ name, bytes }) => sizes.get(name) !== bytes)) damaged.push(commit.unit)
        sums.rows += commit.rows
        sums.rejects += commit.rejects
        for (const [stage, value] of Object.entries(commit.seconds))
          sums.seconds[stage] = (sums.seconds[stage] ?? 0) + value
      },
    )
  }
  const imagesDone = [...done.keys()].reduce((sum, unit) => sum + plan.units[unit]!.rows, 0)
  const imagesPerSecond = recentRate(plan, done, now)
  const left = plan.images - imagesDone
  const complete = done.size === plan.units.length
  return {
    out: dest,
    plan: plan.hash,
    images: plan.images,
    imagesDone,
    units: plan.units.length,
    unitsDone: done.size,
    started: [...started.values()].sort((a, b) => a.unit - b.unit),
    rows: readable ? sums.rows : null,
    rejects: readable ? sums.rejects : null,
    seconds: readable ? sums.seconds : null,
    imagesPerSecond,
    etaSeconds: imagesPerSecond && left > 0 ? left / imagesPerSecond : null,
    imagesKept: await imagesKept(store, done),
    damaged: readable ? damaged.slice(0, 100) : null,
    complete,
    finalized: complete && damaged.length === 0 && (await store.stat(MANIFEST)) !== undefined,
  }
}

/** Sizes of the files that units have, by name. */
async function dataSizes(store: Store): Promise<Map<string, number>> {
  const sizes = new Map<string, number>()
  for await (const { name, size } of store.list('')) if (isDataName(name)) sizes.set(name, size)
  return sizes
}

async function imagesKept(store: Store, done: ReadonlyMap<number, number>): Promise<number> {
  const kept = await keptEntries(store)
  return [...kept].reduce((sum, [unit, entries]) => sum + (done.has(unit) ? 0 : entries), 0)
}

/** Images per second between the first and the last commit of the last ten minutes. */
function recentRate(plan: RunOutline, done: Map<number, number>, now: number): number | null {
  const recent = [...done].filter(([, at]) => now - at <= RATE_WINDOW_MS).sort((a, b) => a[1] - b[1])
  if (recent.length < 2) return null
  const [first] = recent
  const seconds = (recent.at(-1)![1] - first![1]) / 1000
  const images = recent.slice(1).reduce((sum, [unit]) => sum + plan.units[unit]!.rows, 0)
  return seconds > 0 ? images / seconds : null
}
