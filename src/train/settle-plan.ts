/** Plans of trainings, stored in DEST: made, read, and compared with the one that is there. */
import { createHash } from 'node:crypto'
import * as z from 'zod'
import type { Store } from '../io/store.js'
import { claimPlan, difference, loadPlanOf, otherPlan } from '../pipeline/ledger/plan.js'

/** What every plan has beside its settings. */
export const PLAN_FIELDS = {
  hash: z.string(),
  vtp: z.string(),
  /** What decided the engine's kernels where the run began; not part of the hash. */
  processor: z.string().optional(),
}

interface PlanKind<P> {
  command: Parameters<typeof loadPlanOf>[1]
  schema: z.ZodType<P>
  /** What decides the bytes of checkpoints. */
  decisive(plan: Omit<P, 'hash'>): Record<string, unknown>
  /** What people know a key's value by, where that is not the value. */
  readable(plan: P, key: string): string | undefined
  /** The flag that sets a key. */
  flags: Readonly<Record<string, string>>
}

export interface TrainingPlans<P extends { hash: string }> {
  /** The plan with its hash, in the order of the schema, as a later run reads it: no output may tell who wrote it. */
  make(plan: Omit<P, 'hash'>): P
  /** Undefined where DEST holds no run. Throws usage error `other_plan` where it holds one of another command. */
  load(store: Store): Promise<P | undefined>
  /** DEST's plan if it is the same, else this one, stored. Throws usage error `other_plan` with what differs. */
  settle(store: Store, plan: P, dest: string): Promise<{ plan: P; resumed: boolean }>
  /** Throws usage error `other_plan` with what differs. */
  check(there: P, now: P, dest: string): void
}

export function trainingPlans<P extends { hash: string }>(kind: PlanKind<P>): TrainingPlans<P> {
  const load: TrainingPlans<P>['load'] = (store) => loadPlanOf(store, kind.command, kind.schema)
  const check: TrainingPlans<P>['check'] = (there, now, dest) => {
    if (there.hash !== now.hash) throw otherPlan(dest, differences(there, now, kind))
  }
  return {
    make: (plan) => kind.schema.parse({ ...plan, hash: decisiveHash(kind.decisive(plan)) }),
    load,
    check,
    async settle(store, plan, dest) {
      const same = (there: P): void => check(there, plan, dest)
      const stored = await load(store)
      if (!stored) return { plan: await claimPlan(store, plan, () => load(store), same), resumed: false }
      same(stored)
      return { plan: stored, resumed: true }
    },
  }
}

/** SHA-256 (hex) of what decides the bytes. */
function decisiveHash(decisive: Record<string, unknown>): string {
  const ordered = Object.entries(decisive).sort(([a], [b]) => (a < b ? -1 : 1))
  return createHash('sha256').update(JSON.stringify(ordered)).digest('hex')
}

function differences<P>(there: P, now: P, kind: PlanKind<P>): string[] {
  const [a, b] = [kind.decisive(there), kind.decisive(now)]
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((key) => {
    if (JSON.stringify(a[key]) === JSON.stringify(b[key])) return []
    const [before, after] = [kind.readable(there, key) ?? a[key], kind.readable(now, key) ?? b[key]]
    const inner = innerDifferences(key, before, after)
    if (inner) return inner
    return [difference(kind.flags[key] ?? key, before, after) ?? `${key}: ${JSON.stringify(after)} of other contents`]
  })
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Of objects only what differs, at any depth; undefined for other values. */
function innerDifferences(name: string, before: unknown, now: unknown): string[] | undefined {
  if (!isObject(before) || !isObject(now)) return undefined
  return [...new Set([...Object.keys(before), ...Object.keys(now)])].flatMap((key) => {
    const [a, b] = [before[key] ?? null, now[key] ?? null]
    const inner = innerDifferences(`${name}.${key}`, a, b)
    return inner ?? difference(`${name}.${key}`, a, b) ?? []
  })
}
