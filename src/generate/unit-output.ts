/** What one unit of a generation run leaves: a PNG per sample, a shard of latents on request, and its commit. */
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { encodePng } from '../image/png.js'
import { temporaryName } from '../io/atomic.js'
import { openShardWriter, type ShardFiles, type ShardWriter } from '../io/shards/index.js'
import type { Store } from '../io/store.js'
import { float32ToFloat16 } from '../math/half.js'
import { splitImages } from '../pipeline/decode-images.js'
import { openUnitFiles } from '../pipeline/ledger/commit-unit.js'
import type { StartedUnit } from '../pipeline/ledger/job.js'
import { sampleImageName } from '../pipeline/ledger/layout.js'
import type { Meter } from '../pipeline/stream/meter.js'
import type { RowMeta } from '../types.js'
import type { GeneratePlan } from './plan.js'
import type { PreparedGenerate } from './prepare.js'

export interface DecodedBatch {
  /** Numbers of the samples. */
  indices: number[]
  /** Denormalised, [N, C, h, w]. */
  latents: Float32Array
  /** uint8 [N, H, W, 3]. */
  pixels: Uint8Array
}

export interface UnitOutput {
  append(batch: DecodedBatch): Promise<void>
  /** Writes the commit; returns the unit's number of samples. */
  commit(): Promise<number>
  /** The unit ends without a commit, cleanly. */
  abort(): Promise<void>
}

export interface UnitStart {
  store: Store
  prepared: PreparedGenerate
  started: StartedUnit
  /** Number of its first sample. */
  first: number
  rows: number
  meter: Meter
  /** How long files of other bytes are left to the worker that may commit them. */
  waitMs: number
}

/** What a shard of latents says of its origin. */
export function generateProvenance(plan: GeneratePlan): Record<string, string> {
  return {
    'vtp.plan': plan.hash,
    'vtp.dit': plan.dit.name,
    'vtp.dit_digest': plan.dit.digest,
    'vtp.model': plan.model.name,
    'vtp.model_digest': plan.model.digest,
    'vtp.noise': plan.noise,
    'vtp.sampler': JSON.stringify(plan.sampler),
    'vtp.guidance': JSON.stringify(plan.guidance),
    'vtp.precision': plan.precision,
    'vtp.device': plan.device,
    'vtp.engine': plan.engine,
    'vtp.version': plan.vtp,
  }
}

async function openLatents(start: UnitStart, tmpDir: string): Promise<ShardWriter | undefined> {
  const { plan, dit } = start.prepared
  if (!plan.latents) return undefined
  const { inChannels, inputSize } = dit.config
  const columns = [{ name: 'latents', dtype: plan.latents.dtype, shape: [inChannels, inputSize, inputSize] }]
  const spec = { format: plan.latents.format, columns, captions: false, provenance: generateProvenance(plan) }
  return openShardWriter(spec, start.started.index, tmpDir, start.rows)
}

/** Opens a unit for writing. */
export async function createUnitOutput(start: UnitStart): Promise<UnitOutput> {
  const { store, prepared, started, first, rows, meter, waitMs } = start
  const unit = started.index
  const unitFiles = openUnitFiles(store, unit, waitMs)
  const { plan, labels } = prepared
  const tmpDir = await store.tempDir()
  const shard = await openLatents(start, tmpDir)
  const written = new Map<number, { bytes: number; sha256: string }>()
  let secondsBefore = meter.seconds().encode

  const writeImage = async (index: number, png: Uint8Array): Promise<void> => {
    const name = sampleImageName(index)
    const sha256 = createHash('sha256').update(png).digest('hex')
    // By way of the store's own temporary folder: what a killed run leaves there is in nobody's way.
    const tmp = temporaryName(path.join(tmpDir, name))
    await writeFile(tmp, png)
    // Where another worker's commit stands for other bytes, the shard's rows still name ours: the commit is theirs.
    await unitFiles.put({ name, path: tmp, bytes: png.length, sha256 })
    written.set(index, { bytes: png.length, sha256 })
  }
  /** An image that was there before this attempt. */
  const found = async (index: number): Promise<{ bytes: number; sha256: string }> => {
    const bytes = await store.get(sampleImageName(index))
    return { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
  }

  return {
    async append({ indices, latents, pixels }) {
      const pngs = await Promise.all(splitImages(pixels, plan.image).map(encodePng))
      for (const [i, index] of indices.entries()) await writeImage(index, pngs[i]!)
      if (!shard || indices.length === 0) return
      const metas = indices.map(
        (index): RowMeta => ({
          key: sampleImageName(index).replace('.png', ''),
          uri: sampleImageName(index),
          label: labels[index]!,
          caption: null,
          width: plan.image.width,
          height: plan.image.height,
          sha256: Buffer.from(written.get(index)!.sha256, 'hex'),
        }),
      )
      const values = plan.latents?.dtype === 'float16' ? float32ToFloat16(latents) : latents
      await shard.append({ rows: metas, tensors: { latents: values } })
    },
    async commit() {
      const files: { name: string; bytes: number; sha256: string }[] = []
      for (let index = first; index < first + rows; index++) {
        files.push({ name: sampleImageName(index), ...(written.get(index) ?? (await found(index))) })
      }
      let finished: ShardFiles | undefined
      if (shard) {
        finished = await shard.finish()
        for (const file of finished.files) {
          await unitFiles.put(file)
          files.push({ name: file.name, bytes: file.bytes, sha256: file.sha256 })
        }
      }
      const seconds = { sample: Number((meter.seconds().encode - secondsBefore).toFixed(3)) }
      secondsBefore = meter.seconds().encode
      const moments = finished?.moments ?? null
      const { processor } = start.prepared
      await unitFiles.commit({ unit, plan: plan.hash, processor, rows, rejects: 0, files, moments, seconds }, [])
      await started.settle()
      meter.unitsDone++
      return rows
    },
    async abort() {
      await shard?.abort().catch(() => {})
    },
  }
}
