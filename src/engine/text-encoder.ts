/**
 * Text → CLIP embeddings: tokenizer and text tower in one. A text's embedding does not depend on the texts
 * that it is encoded with.
 */
import { type ImageModel, type Precision, textOf } from '../model/index.js'
import { openSession } from './session.js'
import { openSessions } from './session-pool.js'

/** A product with a single row takes another path in the engine, whose last bit may differ. */
const LEAST_ROWS = 2

export interface TextEncoderOptions {
  /** Execution providers in order, as ONNX Runtime names them. Default: cpu. */
  providers?: string[]
  /** Intra-op threads. Default: 1. */
  threads?: number
  /** Arithmetic of the tower. Default: fp32. */
  precision?: Precision
  /** Texts per pass of the model. Default: 32. */
  batchSize?: number
  /** Several sessions share the threads of a CPU: faster for many texts, slower for a single one. Default: false. */
  many?: boolean
  /** Where the compiled graph lies. Default: the model's cache. */
  cacheDir?: string
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
  const graph = await text.compile({ precision: options.precision })
  const batchSize = options.batchSize ?? 32
  const { providers = ['cpu'], threads = 1 } = options
  const session = options.many
    ? await openSessions({ graph, lanes: [providers], threads, batchSize, leastRows: LEAST_ROWS })
    : await openSession({ path: graph.path, providers, threads })
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
