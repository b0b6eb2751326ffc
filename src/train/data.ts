/** The data of a training and their statistics: latents, or given batches, opened and checked. */
import { rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { usageError, VtpError } from '../errors.js'
import { type LatentStats, latentStats, readLatentStats } from '../generate/latent-stats.js'
import { fileDigest } from '../io/file-digest.js'
import { openStore } from '../io/open-store.js'
import { uriScheme } from '../io/store.js'
import { makeTempFolder } from '../io/temp-folder.js'
import { LATENTS_STATS } from '../pipeline/ledger/layout.js'
import { latentsStats } from '../pipeline/ledger/stats.js'
import { assertLabelled } from './latents.js'
import type { TrainPlan } from './plan.js'
import type { TrainRecipe } from './recipe.js'
import { openReplay } from './replay.js'
import type { TrainRequest } from './request.js'
import type { OpenRowsOptions } from './row-files.js'
import { type LatentRows, openLatentRows } from './rows.js'
import type { BatchSource } from './source.js'

export interface GivenData {
  opened: { shape: readonly [number, number, number]; close(): Promise<void> }
  rows?: LatentRows
  replay?: BatchSource
  largestLabel: number
  named: TrainPlan['data']
}

/** Opens LATENTS or the replay. Throws usage errors. */
export async function openData(
  request: TrainRequest,
  recipe: TrainRecipe | undefined,
  copies: Pick<OpenRowsOptions, 'folder' | 'look'>,
): Promise<GivenData> {
  if (request.replay !== undefined) {
    if (request.latents !== undefined)
      throw usageError('bad_replay', '--replay takes the place of LATENTS: give one of them')
    const replay = await openReplay(request.replay)
    const digest = await fileDigest(request.replay, request.cacheDir)
    return {
      opened: replay,
      replay,
      largestLabel: replay.largestLabel,
      named: { kind: 'replay', name: path.basename(request.replay), digest, rows: null },
    }
  }
  const input = request.latents ?? recipe?.dataPath
  if (input === undefined)
    throw usageError('latents_missing', 'There are no latents to train on', [
      'give the --out folder of `vtp encode --flip`',
      ...(recipe ? [`or fill in data.data_path in ${recipe.file}`] : []),
    ])
  const rows = await openLatentRows(input, { ...copies, onNote: request.onNote, stop: request.stop })
  await assertLabelled(rows)
  if (!rows.hasFlips)
    request.onNote?.('The latents have no mirrored ones beside them (encode with --flip): every row is taken as it is.')
  const name = path.basename(input.replace(/\/+$/, ''))
  const largestLabel = rows.labels.reduce((a, b) => Math.max(a, b), -1)
  return { opened: rows, rows, largestLabel, named: { kind: 'latents', name, digest: rows.digest, rows: rows.rows } }
}

/** Undefined: latents are taken as they are. Throws usage errors `stats_missing` and those of the file's reader. */
export async function findStats(
  request: TrainRequest,
  recipe: TrainRecipe | undefined,
  { input, shape: [channels] }: LatentRows,
): Promise<LatentStats | undefined> {
  if (request.stats === 'none') return undefined
  if (request.stats !== undefined) return readLatentStats(request.stats, channels)
  if (recipe && !recipe.latentNorm) return undefined
  const remote = uriScheme(input) !== undefined
  const isFile = /\.(arrow|parquet|safetensors)$/.test(input)
  const folder = isFile ? path.dirname(input) : input
  if (!remote && (await stat(path.join(folder, LATENTS_STATS)).catch(() => undefined)))
    return readLatentStats(folder, channels)
  if (remote && !isFile) {
    const found = await remoteStats(input, channels)
    if (found) return found
  }
  // What the commits of a run say costs no pass over the latents.
  const known = isFile ? undefined : await latentsStats(input).catch(() => undefined)
  if (known?.fromCommits)
    return latentStats('the commits of the run', Float32Array.from(known.mean), Float32Array.from(known.std))
  throw usageError('stats_missing', `There are no statistics of the latents in ${folder}`, [
    `compute them: vtp stats ${folder}`,
    'give --stats FILE, or --stats none to train on latents as they are',
  ])
}

async function remoteStats(input: string, channels: number): Promise<LatentStats | undefined> {
  const store = await openStore(input)
  const folder = await makeTempFolder('stats')
  try {
    const bytes = await store.get(LATENTS_STATS).catch((error: unknown) => {
      if (error instanceof VtpError && error.code === 'not_found') return undefined
      throw error
    })
    if (!bytes) return undefined
    await writeFile(path.join(folder, LATENTS_STATS), bytes)
    return await readLatentStats(folder, channels)
  } finally {
    await rm(folder, { recursive: true, force: true })
    await store.close()
  }
}
