/**
 * A checkpoint of `vtp pretrain` as a model to hand on: float32 weights become float16 (round to nearest even), other
 * tensors and the configuration stay.
 *
 *   npx tsx scripts/half-model.ts run/checkpoints/0001700 FOLDER
 */
import { copyFileSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import { openSafetensors } from '../src/io/safetensors.js'
import { writeSafetensors } from '../src/io/write-safetensors.js'

const [from, to] = process.argv.slice(2)
if (!from || !to) throw new Error('give CHECKPOINT FOLDER')
mkdirSync(to, { recursive: true })
copyFileSync(path.join(from, 'config.json'), path.join(to, 'config.json'))
const file = await openSafetensors(path.join(from, 'model.safetensors'))
const tensors = await Promise.all(
  [...file.tensors.values()].map(async ({ name, shape, dtype }) =>
    dtype === 'F32'
      ? { name, shape, dtype: 'F16' as const, values: await file.readFloat32(name) }
      : { name, shape, dtype, bytes: () => file.readBytes(name) },
  ),
)
await writeSafetensors(path.join(to, 'model.safetensors'), tensors, { format: 'pt' })
await file.close()
