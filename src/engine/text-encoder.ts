/**
 * Text → CLIP embeddings: tokenizer and text tower in one. A text's embedding does not depend on the texts
 * that it is encoded with.
 */
import { type ImageModel, type Precision, textOf } from '../model/index.js'
import { cpuDevice, type Device } from './device.js'
import { openNetwork } from './session-pool.js'

/** A product with a single row takes another path in the engine, whose last bit may differ. */
const LEAST_ROWS = 2

export interface TextEncoderOptions {
  /** Default: a single thread. */
  device?: Device
  /** Default: the device's. */
  precision?: Precision
  /** Texts per pass of the model. Default: 32. */
  batchSize?: number
  /** For many texts: all of the device works. Else one session, which answers a single text soonest. Default: false. */
  many?: boolean
}

export interface TextEncoder {
  /** Length of an embedding. */
  readonly dim: number
  /** float32 [texts, dim], each row L2-normalised. */
  encode(texts: readonly string[]): Promise<Float32Array>
  close(): Promise<void>
}

/** Opens the text tower. Throws usage errors for models without one, or with a vocabulary that no tokenizer has. */
export async function openTextEncoder(model: ImageModel, options: TextEncoderOptions = {}): Promise<TextEncoder> {
  const text = textOf(model)
  const { dim, length } = text
  const tokenizer = await text.openTokenizer()
  const { device = cpuDevice({ cores: 1 }), batchSize = 32, many } = options
  const graph = await text.compile({ precision: options.precision ?? device.precision })
  const session = await openNetwork(graph, { device, batchSize, leastRows: LEAST_ROWS, single: !many })
  const runBatch = async (texts: readonly string[]): Promise<Float32Array> => {
    const ids = tokenizer.encodeBatch(texts, length)
    const { outputs } = await session.run({ ids: { data: ids, dtype: 'int64', dims: [texts.length, length] } })
    return outputs.clip!.data as Float32Array
  }
  return {
    dim,
    async encode(texts) {
      const out = new Float32Array(texts.length * dim)
      for (let start = 0; start < texts.length; start += batchSize) {
        const batch = texts.slice(start, start + batchSize)
        const rows = await runBatch(batch.length < LEAST_ROWS ? [...batch, ''] : batch)
        out.set(rows.subarray(0, batch.length * dim), start * dim)
      }
      return out
    },
    close: () => session.close(),
  }
}
