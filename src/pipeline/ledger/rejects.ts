/** The rejects of a unit: `_rejects-NNNNN.jsonl`, in the order of the listing. Rejects are data, like rows. */
import { VtpError } from '../../errors.js'
import type { Store } from '../../io/store.js'
import { REJECT_CODES, type Reject, type RejectCode } from '../../types.js'
import { oldRejectsName, rejectsName } from './layout.js'

/** A reject and its position in the unit's listing. */
export interface PlacedReject {
  position: number
  reject: Reject
}

/** How many there are of each reason. */
export type RejectCounts = Partial<Record<RejectCode, number>>

/** Adds one to `counts`. */
export function countReject(counts: RejectCounts, { code }: Pick<Reject, 'code'>): void {
  counts[code] = (counts[code] ?? 0) + 1
}

export function countRejects(rejects: Iterable<Reject>): RejectCounts {
  const counts: RejectCounts = {}
  for (const reject of rejects) countReject(counts, reject)
  return counts
}

export function sumCounts(counts: RejectCounts): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0)
}

/** Adds the rejects of a commit to `counts`. An earlier version's commits do not say the reasons: their file does. */
export async function addRejects(
  store: Store,
  counts: RejectCounts,
  commit: { unit: number; rejects: number; rejectsByCode?: RejectCounts },
): Promise<void> {
  if (commit.rejects === 0) return
  mergeCounts(counts, commit.rejectsByCode ?? countRejects(await readRejects(store, commit.unit).catch(() => [])))
}

/** Adds `more` to `counts`. */
export function mergeCounts(counts: RejectCounts, more: RejectCounts): void {
  for (const code of REJECT_CODES) {
    const count = more[code]
    if (count !== undefined) counts[code] = (counts[code] ?? 0) + count
  }
}

/** The lines of the file: always the same order of fields, so that the bytes repeat. */
export function encodeRejects(placed: PlacedReject[]): Buffer {
  const lines = placed.map(({ reject: { key, uri, stage, code, message } }) =>
    JSON.stringify({ key, uri, stage, code, message }),
  )
  return Buffer.from(lines.map((line) => `${line}\n`).join(''))
}

/** The rejects of a committed unit, also of a run of an earlier version. Throws VtpError `not_found`. */
export async function readRejects(store: Store, unit: number): Promise<Reject[]> {
  const bytes = await store.get(rejectsName(unit)).catch(async (error: unknown) => {
    if (!(error instanceof VtpError) || error.code !== 'not_found') throw error
    return store.get(oldRejectsName(unit)).catch(() => Promise.reject(error))
  })
  const lines = Buffer.from(bytes).toString().split('\n').filter(Boolean)
  return lines.map((line) => JSON.parse(line) as Reject)
}

/** Gives the rejects of an earlier version their name of today. */
export async function renameOldRejects(store: Store): Promise<void> {
  const names: string[] = []
  for await (const name of store.names('rejects-')) if (/^rejects-\d{5,}\.jsonl$/.test(name)) names.push(name)
  for (const name of names) {
    await store.putIfAbsent(`_${name}`, await store.get(name))
    await store.delete(name)
  }
}
