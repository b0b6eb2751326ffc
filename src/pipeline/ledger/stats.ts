/** Channel statistics of latents: from the commits of a run, or by reading shards of any origin. */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../../errors.js'
import { openStore } from '../../io/open-store.js'
import { findShards, openShard } from '../../io/shards/index.js'
import { columnSize } from '../../io/shards/rebatch.js'
import { uriScheme } from '../../io/store.js'
import { encodeLatentsStats } from '../../io/torch-stats.js'
import { type Moments, type MomentsTally, mergeMoments, momentsToStats, tallyMoments } from '../../math/moments.js'
import { committedUnits } from './commits.js'
import { visitCommits } from './finalize.js'
import { loadPlan } from './plan.js'

export interface LatentsStats {
  /** Rows that went in. */
  rows: number
  mean: number[]
  /** Unbiased, over rows and positions. */
  std: number[]
  /** Whether the numbers came from commits, without reading latents. */
  fromCommits: boolean
}

const BATCH_ROWS = 64

/** Statistics of a run's folder or of shards. Throws usage errors when there are no latents. */
export async function latentsStats(input: string, fromShards = false): Promise<LatentsStats> {
  const remote = uriScheme(input) === 's3'
  const info = remote ? undefined : await stat(input).catch(() => undefined)
  if (!remote && !info)
    throw usageError('input_missing', `${input} does not exist`, ['give the --out folder of `vtp encode`, or a shard'])
  const isRun = remote ? !/\.(arrow|parquet|safetensors)$/.test(input) : info!.isDirectory()
  const known = isRun && !fromShards ? await fromCommits(input) : undefined
  const { moments, rows } = known ?? (await fromFiles(input))
  if (rows === 0)
    throw usageError('no_rows', `${input} has no rows yet, so there is nothing to average`, [
      'see how far it is with `vtp status`, or which images were rejected in _rejects-*.jsonl',
    ])
  if (!moments || moments.count < 2)
    throw usageError('no_latents', `${input} holds no latents`, ['encode with --outputs latents'])
  const { mean, std } = momentsToStats(moments)
  return { rows, mean: [...mean], std: [...std], fromCommits: known !== undefined }
}

interface Sums {
  moments: Moments | null
  rows: number
}

async function fromCommits(folder: string): Promise<Sums | undefined> {
  const store = await openStore(folder)
  const plan = await loadPlan(store)
  if (!plan) return undefined
  const done = await committedUnits(store)
  const units = [...plan.units.keys()].filter((unit) => done.has(unit))
  const sums: Sums = { moments: null, rows: 0 }
  await visitCommits(store, units, (commit) => {
    sums.rows += commit.rows
    if (commit.moments) sums.moments = sums.moments ? mergeMoments(sums.moments, commit.moments) : commit.moments
  })
  return sums
}

async function fromFiles(input: string): Promise<Sums> {
  let tally: MomentsTally | undefined
  let rows = 0
  for (const file of await findShards(input)) {
    const shard = await openShard(file)
    try {
      const column = shard.columns.find((c) => c.name === 'latents')
      if (!column) throw usageError('no_latents', `${file} has no column "latents"`, ['encode with --outputs latents'])
      const [channels = 0] = column.shape
      const size = columnSize(column)
      tally ??= tallyMoments(channels, size / channels)
      for await (const batch of shard.read(['latents'], BATCH_ROWS)) {
        for (let row = 0; row < batch.rows.length; row++) tally.add(batch.tensors.latents!, row * size)
        rows += batch.rows.length
      }
    } finally {
      await shard.close()
    }
  }
  return { moments: tally?.moments ?? null, rows }
}

/** Writes `latents_stats.pt` into a folder; returns its path. */
export async function writeLatentsStats(stats: LatentsStats, folder: string): Promise<string> {
  const store = await openStore(folder)
  await store.put('latents_stats.pt', encodeLatentsStats(Float32Array.from(stats.mean), Float32Array.from(stats.std)))
  return uriScheme(folder) ? `${store.uri}/latents_stats.pt` : path.join(folder, 'latents_stats.pt')
}
