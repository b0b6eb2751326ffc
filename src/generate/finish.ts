/**
 * What is made once all units of a generation run are committed: the manifest, and on request one .npz of
 * all images (the layout of ADM's evaluation: `arr_0` images, `arr_1` classes) and a preview. All of it is a
 * function of the committed images.
 */
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { mapOrdered } from '../async/stages.js'
import { effectiveCores } from '../engine/cores.js'
import { usageError } from '../errors.js'
import { grid as makeGrid } from '../image/montage.js'
import { encodePng } from '../image/png.js'
import { onePicture, openPixelPool } from '../image/pool/pool.js'
import { ORIGINAL } from '../image/pool/views.js'
import { temporaryName } from '../io/atomic.js'
import { writeNpz } from '../io/numpy/npz-writer.js'
import type { Store } from '../io/store.js'
import { encodeLatentsStats } from '../io/torch-stats.js'
import { momentsToStats } from '../math/moments.js'
import { sumCommits, type Totals } from '../pipeline/ledger/finalize.js'
import { LATENTS_STATS, MANIFEST, PREVIEW, SAMPLES_NPZ, sampleImageName } from '../pipeline/ledger/layout.js'
import type { RgbImage } from '../types.js'
import { type GeneratePlan, loadGeneratePlan } from './plan.js'
import type { PreparedGenerate } from './prepare.js'
import { generateProvenance } from './unit-output.js'

export interface Extras {
  npz: boolean
  grid?: { rows: number; columns: number }
}

export interface FinishedGenerate {
  totals: Totals
  /** Names in DEST of what was made of the images. */
  extras: string[]
}

/** Writes the manifest and the extras. */
export async function finishGenerate(prepared: PreparedGenerate, extras: Extras): Promise<FinishedGenerate> {
  const { plan, store } = prepared
  const totals = await finalizeGenerate(store, plan)
  const made: string[] = []
  if (extras.npz) made.push(await putNpz(prepared))
  if (extras.grid) made.push(await putGrid(prepared, extras.grid))
  return { totals, extras: made }
}

/** `vtp finalize` on a run of `vtp generate`: its plan is all that is needed. */
export async function finalizeGenerateRun(store: Store): Promise<Totals> {
  const plan = await loadGeneratePlan(store)
  if (!plan) throw usageError('no_plan', `${store.uri} holds no plan of a run`)
  return finalizeGenerate(store, plan)
}

/** Writes the manifest (and statistics of latents). Call it when every unit has its commit. */
async function finalizeGenerate(store: Store, plan: GeneratePlan): Promise<Totals> {
  const { totals, files, processors } = await sumCommits(store, plan.units.length, (name, rows) => {
    return name.endsWith('.png') ? 1 : rows
  })
  const stats = totals.moments && totals.moments.count > 1 ? momentsToStats(totals.moments) : null
  if (stats && plan.latents?.format === 'safetensors')
    await store.put(LATENTS_STATS, encodeLatentsStats(stats.mean, stats.std))
  const manifest = {
    version: 1,
    kind: plan.kind,
    plan: plan.hash,
    images: plan.num,
    rows: totals.rows,
    rejects: 0,
    bytes: totals.bytes,
    format: 'png',
    image: plan.image,
    latents: plan.latents,
    sampler: plan.sampler,
    guidance: plan.guidance,
    provenance: generateProvenance(plan),
    processors,
    files,
  }
  await store.put(MANIFEST, Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`))
  return totals
}

/** All images in order, a few read ahead. */
async function* readImages(store: Store, count: number): AsyncGenerator<RgbImage> {
  const pool = openPixelPool(effectiveCores())
  const readImage = async (index: number): Promise<RgbImage> => {
    const bytes = Uint8Array.from(await store.get(sampleImageName(index)))
    const { data, width, height } = await onePicture(pool, bytes, ORIGINAL)
    return { data: data as Uint8Array, width, height }
  }
  try {
    yield* mapOrdered(Array(count).keys(), 8, readImage)
  } finally {
    await pool.close()
  }
}

async function putNpz({ plan, store, labels }: PreparedGenerate): Promise<string> {
  const dir = await store.tempDir()
  await mkdir(dir, { recursive: true })
  const file = temporaryName(path.join(dir, SAMPLES_NPZ))
  async function* pixels(): AsyncGenerator<Uint8Array> {
    for await (const image of readImages(store, plan.num)) yield image.data
  }
  try {
    const classes = BigInt64Array.from(labels, BigInt)
    await writeNpz(file, [
      { name: 'arr_0', dtype: '|u1', shape: [plan.num, plan.image.height, plan.image.width, 3], data: pixels() },
      { name: 'arr_1', dtype: '<i8', shape: [plan.num], data: [new Uint8Array(classes.buffer)] },
    ])
    await store.putFile(SAMPLES_NPZ, file, { ifAbsent: false })
  } finally {
    await rm(file, { force: true })
  }
  return SAMPLES_NPZ
}

/** The first rows × columns images side by side, without gaps, as the reference's demonstration sheet. */
async function putGrid(
  { plan, store }: PreparedGenerate,
  { rows, columns }: { rows: number; columns: number },
): Promise<string> {
  const images: RgbImage[] = []
  for await (const image of readImages(store, Math.min(rows * columns, plan.num))) images.push(image)
  const name = `${PREVIEW}grid-${rows}x${columns}.png`
  await store.put(name, await encodePng(makeGrid(images, columns, 0)))
  return name
}
