/**
 * "The latents are byte-identical before and after" (specification, stage 2), checked: latents of some rows are
 * computed anew with a model and compared bit by bit with the stored ones, and all tensors of a checkpoint but the
 * decoder's parameters with those of the model that it began from.
 */
import { rm } from 'node:fs/promises'
import path from 'node:path'
import type { Device } from '../../engine/device.js'
import { openImageEncoder } from '../../engine/image-encoder.js'
import { VtpError } from '../../errors.js'
import { openSafetensors } from '../../io/safetensors.js'
import { makeTempFolder } from '../../io/temp-folder.js'
import { float16ToFloat32 } from '../../math/half.js'
import { openModel } from '../../model/index.js'
import { isBuffer } from '../state.js'
import type { LatentPlan } from './latents.js'
import type { Pairs } from './pairs.js'
import { DECODER } from './start.js'

export interface LatentCheck {
  /** A model's folder. */
  model: string
  pairs: Pairs
  plan: LatentPlan
  device: Device
  /** Rows that are computed anew, evenly over the set. */
  rows: number
}

/** Throws VtpError `latents_differ` that names the row. */
export async function checkLatents({ model: folder, pairs, plan, device, rows: count }: LatentCheck): Promise<void> {
  const { rows } = pairs.rows
  const numbers = Array.from({ length: Math.min(count, rows) }, (_, i) =>
    Math.floor(((i + 0.5) * rows) / Math.min(count, rows)),
  )
  // A checkpoint's graph is used once: it does not stay in the cache.
  const cacheDir = await makeTempFolder('check')
  try {
    const model = await openModel(folder, { cacheDir })
    const size = { height: plan.size, width: plan.size }
    const { precision, dtype } = plan
    const encoder = await openImageEncoder(model, {
      ...{ device, size, outputs: ['latents'], precision, dtype, images: 1, batchSize: 1 },
    })
    try {
      for (const row of numbers)
        for (const mirrored of pairs.rows.hasFlips ? [false, true] : [false]) {
          const pixels = Uint8Array.from(await pairs.pixels(row, mirrored))
          const { tensors } = await encoder.encode(pixels, 1, ['latents'])
          const found = tensors.latents!
          const values = found instanceof Uint16Array ? float16ToFloat32(found) : (found as Float32Array)
          const stored = await pairs.rows.read(row, mirrored)
          if (!sameBits(values, stored)) throw await latentsDiffer({ folder, pairs, row, mirrored, values, stored })
        }
    } finally {
      await encoder.close()
      await model.close()
    }
  } finally {
    await rm(cacheDir, { recursive: true, force: true })
  }
}

const bytesOf = (values: Float32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
const sameBits = (a: Float32Array, b: Float32Array): boolean => Buffer.compare(bytesOf(a), bytesOf(b)) === 0

interface Difference {
  folder: string
  pairs: Pairs
  row: number
  mirrored: boolean
  values: Float32Array
  stored: Float32Array
}

async function latentsDiffer({ folder, pairs, row, mirrored, values, stored }: Difference): Promise<VtpError> {
  const apart = values.reduce((most, value, i) => Math.max(most, Math.abs(value - stored[i]!)), 0)
  const which = `${mirrored ? 'The mirrored image of row' : 'Row'} ${row}, ${await pairs.rows.keyOf(row)}`
  return new VtpError(`${which}: ${folder} gives other latents than those stored; they differ by up to ${apart}`, {
    code: 'latents_differ',
    suggestions: [
      'latents of another kind of processor, or of another version, may differ in their last bits: encode here, without --latents',
    ],
  })
}

/** Throws VtpError `tokenizer_changed` that names a tensor which is not byte for byte that of `init`. */
export async function checkTokenizer(init: string, checkpoint: string): Promise<void> {
  const [before, after] = await Promise.all(
    [init, checkpoint].map((folder) => openSafetensors(path.join(folder, 'model.safetensors'))),
  )
  try {
    for (const { name, dtype } of before!.tensors.values()) {
      if (name.startsWith(DECODER) && !isBuffer(name)) continue
      const same =
        after!.tensors.get(name)?.dtype === dtype &&
        Buffer.compare(await before!.readBytes(name), await after!.readBytes(name)) === 0
      if (!same) throw new VtpError(`${checkpoint}: ${name} is not that of ${init}`, { code: 'tokenizer_changed' })
    }
  } finally {
    await Promise.allSettled([before!.close(), after!.close()])
  }
}
