/**
 * Commits and attempts. A unit is done when, and only when, its commit exists; the commit is written
 * last, once. An attempt marker is left before a unit starts and taken away on a clean stop, so its
 * number tells how often a unit has died.
 */
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import * as z from 'zod'
import { VtpError } from '../../errors.js'
import { type Store, uriScheme } from '../../io/store.js'
import { ATTEMPTS, attemptName, COMMITS, commitName, isDataName, unitName } from './layout.js'

/** A name of unknown origin, for a message: no control characters, not too long. */
const shown = (name: unknown): string => JSON.stringify(String(name).slice(0, 100))

const commitSchema = z.object({
  unit: z.int(),
  plan: z.string(),
  rows: z.int(),
  rejects: z.int(),
  /** The rejects by reason; absent where there are none, and in commits of an earlier version. */
  rejectsByCode: z.record(z.string(), z.int()).optional(),
  files: z.array(
    z.object({
      name: z.string().refine(isDataName, { error: ({ input }) => `no run writes a file ${shown(input)}` }),
      bytes: z.int(),
      sha256: z.string().regex(/^[0-9a-f]{64}$/),
    }),
  ),
  /** Per-channel statistics of the unit's latents: count, mean and sum of squared deviations, in float64. */
  moments: z.object({ count: z.number(), mean: z.array(z.number()), m2: z.array(z.number()) }).nullable(),
  /** What decided the engine's kernels (engine/processor.ts); commits of earlier versions do not say. */
  processor: z.string().optional(),
  /** Seconds of work per stage, for people; everything else is a pure function of the plan. */
  seconds: z.record(z.string(), z.number()),
})

export type Commit = z.infer<typeof commitSchema>

/** Writes the commit; true when this call made it, false when another worker was first. */
export async function writeCommit(store: Store, commit: Commit): Promise<boolean> {
  return store.putIfAbsent(commitName(commit.unit), Buffer.from(`${JSON.stringify(commit)}\n`))
}

/** Replaces a commit: only for a unit whose rejects were tried again. */
export async function replaceCommit(store: Store, commit: Commit): Promise<void> {
  await store.put(commitName(commit.unit), Buffer.from(`${JSON.stringify(commit)}\n`))
}

/** A commit's text, held to its schema; `error` says what is wrong. */
export function parseCommit(bytes: Uint8Array): { success: true; data: Commit } | { success: false; error: string } {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(bytes).toString())
  } catch {
    return { success: false, error: 'it is not JSON' }
  }
  const parsed = commitSchema.safeParse(value)
  return parsed.success ? parsed : { success: false, error: parsed.error.issues[0]?.message ?? 'it is not a commit' }
}

/** Throws VtpError `commit_unreadable` for a damaged commit, and what the store throws. */
export async function readCommit(store: Store, unit: number): Promise<Commit> {
  const name = commitName(unit)
  const commit = parseCommit(await store.get(name))
  if (commit.success) return commit.data
  throw new VtpError(`The commit ${name} in ${store.uri} is damaged: ${commit.error}`, {
    code: 'commit_unreadable',
    suggestions: [`run \`vtp verify ${store.uri} --repair\`, then the same command again: its unit is done anew`],
  })
}

/** The numbers of all committed units, from names alone. */
export async function committedUnits(store: Store): Promise<Set<number>> {
  const done = new Set<number>()
  // A bucket lists 1,000 names per round trip: by their first digit, ten lists run at once. A disk is read once.
  const starts = uriScheme(store.uri) === 's3' ? Array.from({ length: 10 }, (_, digit) => String(digit)) : ['']
  await Promise.all(
    starts.map(async (start) => {
      for await (const name of store.names(COMMITS + start)) {
        const match = /^(\d{5,})\.json$/.exec(name.slice(COMMITS.length))
        if (match) done.add(Number(match[1]))
      }
    }),
  )
  return done
}

/** Whether a unit is done. */
export async function isCommitted(store: Store, unit: number): Promise<boolean> {
  return (await store.stat(commitName(unit))) !== undefined
}

export interface Attempt {
  /** 1 for the first. */
  number: number
  /** Takes the marker away: the attempt ended cleanly without a commit. */
  withdraw(): Promise<void>
}

/** Leaves the marker of the next attempt at a unit. */
export async function startAttempt(store: Store, unit: number): Promise<Attempt> {
  let last = 0
  const prefix = `${ATTEMPTS}${unitName(unit)}.`
  for await (const name of store.names(prefix)) last = Math.max(last, Number(name.slice(prefix.length)) || 0)
  const marker = Buffer.from(`${JSON.stringify({ host: hostname(), pid: process.pid, id: randomUUID() })}\n`)
  for (let number = last + 1; ; number++) {
    const name = attemptName(unit, number)
    // No two markers are alike, so it is certain whose a marker is even when the store's answer is lost.
    if (await store.putIfAbsent(name, marker)) {
      return { number, withdraw: () => store.delete(name) }
    }
  }
}
