/**
 * `--retry-rejects`: encodes again what was rejected in committed units, and nothing else of them. Rows that come
 * out are merged into the unit's shard at their place in the listing, so a unit whose images have all
 * become readable has the bytes of a run that never failed. The part is replaced before its commit: after
 * a crash in between, the next call finds the rows in the part already and only writes the commit.
 */
import { usageError } from '../errors.js'
import { parseListingEntry } from '../io/listing.js'
import { openShard, openShardWriter, shardName } from '../io/shards/index.js'
import type { ListingEntry, Reject, RowBatch } from '../types.js'
import type { EncodeRequest } from './encode-request.js'
import { type Commit, committedUnits, readCommit, replaceCommit } from './ledger/commits.js'
import { provenance, visitCommits } from './ledger/finalize.js'
import { rejectsName } from './ledger/layout.js'
import { type PreparedPlan, readUnitLines } from './ledger/prepare-plan.js'
import { countRejects, encodeRejects, type PlacedReject } from './ledger/rejects.js'
import { ownUnits } from './ledger/units.js'
import { type BatchEncoder, openBatchEncoder } from './stream/batch-encoder.js'
import { nonFiniteReject, takeFiniteRows } from './stream/finite.js'

const READ_ROWS = 64

export interface RetryResult {
  units: number
  /** Images that were tried again. */
  tried: number
  recovered: number
}

/** Goes through the committed units of this worker that have rejects. */
export async function retryRejects(prepared: PreparedPlan, request: EncodeRequest): Promise<RetryResult> {
  const { plan, store } = prepared
  if (plan.format === 'npy') {
    throw usageError('npy_no_retry', 'Rejects of npy shards cannot be tried again: arrays are not rewritten', [
      'start anew with --overwrite, or embed the missing images into another folder',
    ])
  }
  const done = await committedUnits(store)
  const own = ownUnits([...plan.units.keys()], request.worker, request.units).filter((unit) => done.has(unit))
  const units: number[] = []
  await visitCommits(store, own, (commit) => {
    if (commit.rejects > 0) units.push(commit.unit)
  })
  const total: RetryResult = { units: units.length, tried: 0, recovered: 0 }
  if (units.length === 0) {
    request.onNote?.('No committed unit has rejects: there is nothing to try again.')
    return total
  }
  // Rejected images are suspects: a child process decodes them.
  const encoder = await openBatchEncoder(prepared, request, true)
  try {
    for (const unit of units) {
      if (request.stop?.aborted) break
      const result = await retryUnit(prepared, unit, (of, entries) =>
        encodeEntries(prepared, request, encoder, of, entries),
      )
      total.tried += result.tried
      total.recovered += result.recovered
    }
  } finally {
    await encoder.close()
  }
  request.onNote?.(
    `${total.tried} rejected image${total.tried === 1 ? ' was' : 's were'} tried again in ${total.units} unit${total.units === 1 ? '' : 's'}: ${total.recovered} became ${total.recovered === 1 ? 'a row' : 'rows'}.`,
  )
  return total
}

/** Rows of the entries that went well, keyed; rejects of the others by their key. */
interface Retried {
  batches: RowBatch[]
  rejects: Map<string, Reject>
}

/** Encodes entries of a unit in batches. */
async function encodeEntries(
  { plan }: PreparedPlan,
  { batchSize }: EncodeRequest,
  encoder: BatchEncoder,
  unit: number,
  entries: ListingEntry[],
): Promise<Retried> {
  const out: Retried = { batches: [], rejects: new Map() }
  const job = { index: unit, unit: plan.units[unit]!, isolated: true }
  for (let start = 0; start < entries.length; start += batchSize) {
    const slice = entries.slice(start, start + batchSize)
    const encoded = await encoder.encode({ job, start, entries: slice, last: false })
    for (const { reject } of encoded.rejects) out.rejects.set(reject.key, reject)
    const { batch, dropped } = takeFiniteRows(encoded.batch, plan.columns)
    for (const { index, column } of dropped) {
      const row = encoded.rows[index]!
      out.rejects.set(row.key, nonFiniteReject(row, column))
    }
    out.batches.push(batch)
  }
  return out
}

async function retryUnit(
  { plan, store }: PreparedPlan,
  unit: number,
  encode: (unit: number, entries: ListingEntry[]) => Promise<Retried>,
): Promise<{ tried: number; recovered: number }> {
  const commit = await readCommit(store, unit)
  const entries = (await readUnitLines({ plan, store }, unit)).map(parseListingEntry)
  const shard = await openShard(`${store.uri}/${shardName(plan.format, unit)}`)
  try {
    const present = new Set<string>()
    for await (const { rows } of shard.read([], 1024)) for (const { key } of rows) present.add(key)
    const missing = entries.filter((entry) => !present.has(entry.key))
    const retried = await encode(unit, missing)
    const spec = {
      format: plan.format,
      columns: plan.columns,
      captions: plan.source.captions,
      metadata: plan.source.options?.metadata === true,
      classes: plan.classes,
      provenance: provenance(plan),
    }
    const writer = await openShardWriter(spec, unit, await store.tempDir(), entries.length)
    const names = plan.columns.map((column) => column.name)
    try {
      const old = singleRows(shard.read(names, READ_ROWS), names)
      const fresh = singleRows(fromArray(retried.batches), names)
      let nextOld = await old.next()
      let nextFresh = await fresh.next()
      for (const { key } of entries) {
        if (!nextOld.done && nextOld.value.rows[0]!.key === key) {
          await writer.append(nextOld.value)
          nextOld = await old.next()
        } else if (!nextFresh.done && nextFresh.value.rows[0]!.key === key) {
          await writer.append(nextFresh.value)
          nextFresh = await fresh.next()
        }
      }
      const files = await writer.finish()
      for (const file of files.files) await store.putFile(file.name, file.path, { ifAbsent: false })
      const rejects: PlacedReject[] = []
      entries.forEach(({ key }, position) => {
        const reject = retried.rejects.get(key)
        if (reject) rejects.push({ position, reject })
      })
      if (rejects.length > 0) await store.put(rejectsName(unit), encodeRejects(rejects))
      else await store.delete(rejectsName(unit))
      const next: Commit = {
        ...commit,
        rows: files.rows,
        rejects: rejects.length,
        rejectsByCode: rejects.length > 0 ? countRejects(rejects.map(({ reject }) => reject)) : undefined,
        files: files.files.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 })),
        moments: files.moments,
      }
      await replaceCommit(store, next)
      return { tried: missing.length, recovered: missing.length - rejects.length }
    } catch (error) {
      await writer.abort().catch(() => {})
      throw error
    }
  } finally {
    await shard.close()
  }
}

async function* fromArray<T>(items: T[]): AsyncGenerator<T> {
  yield* items
}

/** One row at a time; tensors are views. */
async function* singleRows(batches: AsyncIterable<RowBatch>, names: string[]): AsyncGenerator<RowBatch> {
  for await (const { rows, tensors } of batches) {
    for (let i = 0; i < rows.length; i++) {
      const row = names.map((name) => {
        const data = tensors[name]!
        const size = data.length / rows.length
        return [name, data.subarray(i * size, (i + 1) * size)] as const
      })
      yield { rows: [rows[i]!], tensors: Object.fromEntries(row) }
    }
  }
}
