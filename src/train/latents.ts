/**
 * Batches from latents: rows in the drawn order, mirrored or not, normalised as the reference's loader does it, with
 * noise, times and dropped labels (draws.ts). A batch is a function of the plan and of the step alone.
 * Reference: LightningDiT datasets/img_latent_dataset.py.
 */
import { usageError } from '../errors.js'
import type { LatentStats } from '../generate/latent-stats.js'
import { createDraws, type TimeLaw } from './draws.js'
import type { LatentRows } from './rows.js'
import type { BatchSource } from './source.js'

export interface LatentSettings {
  batch: number
  seed: number
  time: TimeLaw
  labelDropout: number
  numClasses: number
  /** Undefined: latents are not normalised. */
  stats?: LatentStats
  multiplier: number
}

/** ((x − mean) / std) · multiplier per channel, each operation in float32; changes `latents` [C, area] in place. */
export function normaliseLatents(
  latents: Float32Array,
  stats: LatentStats | undefined,
  multiplier: number,
): Float32Array {
  const area = latents.length / (stats?.mean.length ?? 1)
  const factor = Math.fround(multiplier)
  for (let i = 0; i < latents.length; i++) {
    const c = Math.floor(i / area)
    const x = latents[i]!
    const normal = stats ? Math.fround(Math.fround(x - stats.mean[c]!) / stats.std[c]!) : x
    latents[i] = normal * factor
  }
  return latents
}

/** Rows that are read at once. */
const READS = 16

/** Checks the classes and makes the source. Throws usage error `class_out_of_range`. */
export async function latentSource(rows: LatentRows, settings: LatentSettings): Promise<BatchSource> {
  await assertKnownClasses(rows, settings.numClasses)
  const { batch, seed, time, labelDropout, numClasses, stats, multiplier } = settings
  const draws = createDraws({ seed, rows: rows.rows, time, labelDropout, nullClass: numClasses })
  const size = rows.shape.reduce((a, b) => a * b, 1)
  return {
    shape: rows.shape,
    batch,
    rows: rows.rows,
    largestLabel: rows.labels.reduce((a, b) => Math.max(a, b), -1),
    has: () => true,
    async read(step) {
      const first = (step - 1) * batch
      const x1 = new Float32Array(batch * size)
      const x0 = new Float32Array(batch * size)
      const t = new Float32Array(batch)
      const labels = new BigInt64Array(batch)
      const fill = async (i: number): Promise<void> => {
        const sample = first + i
        const row = draws.row(sample)
        const latents = await rows.read(row, rows.hasFlips && draws.flipped(sample))
        x1.set(normaliseLatents(latents, stats, multiplier), i * size)
        x0.set(draws.noise(sample, size), i * size)
        t[i] = draws.time(sample)
        labels[i] = BigInt(draws.label(sample, rows.labels[row]!))
      }
      for (let i = 0; i < batch; i += READS)
        await Promise.all(Array.from({ length: Math.min(READS, batch - i) }, (_, k) => fill(i + k)))
      return { x1, x0, t, labels }
    },
    keys: (step, samples) => Promise.all(samples.map((i) => rows.keyOf(draws.row((step - 1) * batch + i)))),
    close: () => rows.close(),
  }
}

/** Throws usage error `labels_missing`. */
export async function assertLabelled(rows: LatentRows): Promise<void> {
  const missing = rows.labels.indexOf(-1)
  if (missing >= 0) {
    const count = rows.labels.reduce((sum, label) => sum + (label < 0 ? 1 : 0), 0)
    throw usageError(
      'labels_missing',
      `${count} of ${rows.rows} rows have no class, the first is ${await rows.keyOf(missing)}`,
      ['encode images in class folders, or a list with "label"'],
    )
  }
}

async function assertKnownClasses(rows: LatentRows, numClasses: number): Promise<void> {
  const beyond = rows.labels.findIndex((label) => label >= numClasses)
  if (beyond < 0) return
  throw usageError(
    'class_out_of_range',
    `${await rows.keyOf(beyond)} has class ${rows.labels[beyond]}; the model knows 0 to ${numClasses - 1}`,
    ['set data.num_classes of the configuration (or --num-classes) to the number of classes', 'or encode other images'],
  )
}
