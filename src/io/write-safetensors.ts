/** Writes a whole safetensors file at once, atomically, laid out as the official writer does it. */
import { open } from 'node:fs/promises'
import { float32ToBfloat16, float32ToFloat16 } from '../math/half.js'
import { writeAtomically } from './atomic.js'
import { encodeSafetensorsHeader, type SafetensorsDtype } from './safetensors-header.js'

export interface FloatTensor {
  name: string
  shape: readonly number[]
  values: Float32Array
  /** Default: F32. */
  dtype?: 'F32' | 'F16' | 'BF16'
}

/** A tensor as another file has it. */
export interface RawTensor {
  name: string
  shape: readonly number[]
  dtype: SafetensorsDtype
  bytes(): Promise<Uint8Array>
}

async function bytesOf(tensor: FloatTensor | RawTensor): Promise<Uint8Array> {
  if ('bytes' in tensor) return tensor.bytes()
  const { values, dtype = 'F32' } = tensor
  const stored = dtype === 'F32' ? values : dtype === 'F16' ? float32ToFloat16(values) : float32ToBfloat16(values)
  return new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength)
}

/** Makes or replaces `file`. Tensors are read one after the other, so that `values` may be getters. */
export async function writeSafetensors(
  file: string,
  tensors: readonly (FloatTensor | RawTensor)[],
  metadata: Record<string, string> = {},
): Promise<void> {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  const header = encodeSafetensorsHeader(
    tensors.map(({ name, shape, dtype = 'F32' }) => ({ name, dtype, shape: [...shape] })),
    metadata,
  )
  await writeAtomically(file, async (tmp) => {
    const out = await open(tmp, 'w')
    try {
      await out.writeFile(header.bytes)
      for (const { name } of header.order) await out.writeFile(await bytesOf(byName.get(name)!))
    } finally {
      await out.close()
    }
  })
}
