/** Plans of trainings, stored in DEST: whether the one there is the same, and what differs if it is not. */
import { createHash } from 'node:crypto'
import type { Store } from '../io/store.js'
import { claimPlan, difference, otherPlan } from '../pipeline/ledger/plan.js'

export interface PlanKind<P extends { hash: string }> {
  /** Undefined where DEST holds no run. */
  load(store: Store): Promise<P | undefined>
  /** What decides the bytes of checkpoints. */
  decisive(plan: P): Record<string, unknown>
  /** What people know a key's value by, where that is not the value. */
  readable(plan: P, key: string): string | undefined
  /** The flag that sets a key. */
  flags: Readonly<Record<string, string>>
}

/** SHA-256 (hex) of what decides the bytes. */
export function decisiveHash(decisive: Record<string, unknown>): string {
  const ordered = Object.entries(decisive).sort(([a], [b]) => (a < b ? -1 : 1))
  return createHash('sha256').update(JSON.stringify(ordered)).digest('hex')
}

/** DEST's plan if it is the same, else this one, stored. Throws usage error `other_plan` with what differs. */
export async function settlePlan<P extends { hash: string }>(
  store: Store,
  plan: P,
  dest: string,
  kind: PlanKind<P>,
): Promise<{ plan: P; resumed: boolean }> {
  const check = (there: P): void => checkPlan(there, plan, dest, kind)
  const stored = await kind.load(store)
  if (stored) {
    check(stored)
    return { plan: stored, resumed: true }
  }
  return { plan: await claimPlan(store, plan, () => kind.load(store), check), resumed: false }
}

/** Throws usage error `other_plan` with what differs. */
export function checkPlan<P extends { hash: string }>(there: P, now: P, dest: string, kind: PlanKind<P>): void {
  if (there.hash !== now.hash) throw otherPlan(dest, differences(there, now, kind))
}

function differences<P extends { hash: string }>(there: P, now: P, kind: PlanKind<P>): string[] {
  const [a, b] = [kind.decisive(there), kind.decisive(now)]
  return Object.keys(b).flatMap((key) => {
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
