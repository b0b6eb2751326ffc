/**
 * A finished graph without the operators whose kernels are wrong in ONNX Runtime's providers other than the CPU's and
 * CUDA's. Each was found by comparing with the CPU (test/parity/webgpu.test.ts).
 */
import { writeOutAttention } from './explicit-attention.js'
import { decodeModel, encodeModel } from './onnx-file.js'
import { padChannels } from './padded-channels.js'

/** The same model by sound kernels only; undefined where it is that already. */
export function bySoundKernels(bytes: Uint8Array): Uint8Array | undefined {
  const model = decodeModel(bytes)
  const changed = [writeOutAttention(model), padChannels(model)]
  return changed.some(Boolean) ? encodeModel(model) : undefined
}
