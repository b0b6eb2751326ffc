/**
 * Text → CLIP embeddings: tokenizer and text tower in one. A text's embedding does not depend on the texts
 * that it is encoded with.
 *
 * Captions are short: most have 16 tokens or fewer where the model takes 77. Where what lies behind a text's last
 * needed token changes no bit of its embedding (`tokensNeeded`), texts of about the same length are encoded together
 * at that length.
 */
import { mapOrdered } from '../async/map-ordered.js'
import { type ImageModel, type Precision, type TextTower, textOf } from '../model/index.js'
import { cpuDevice, type Device } from './device.js'
import { openNetwork } from './session-pool.js'

/** A product with a single row takes another path in the engine, whose last bit may differ. */
const LEAST_ROWS = 2
/**
 * Texts run at a multiple of this, and of twice it from `COARSE` on. The engine adds up the weights of an attention
 * in vectors of up to 16: with whole halves of them the zeros behind a text's end fall into places of their own.
 */
const STEP = 8
const COARSE = 32
const SHORTEST = 16
/** Texts whose ids are held at once, in batches: among so many, those of a length fill batches. */
const WINDOW = 64
/** One runs while the next is made. */
const RUNS_IN_FLIGHT = 2

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

/** The length at which a text runs whose first `needed` tokens count, in a tower of `length`. */
export function runLength(needed: number, length: number): number {
  const step = needed > COARSE ? 2 * STEP : STEP
  return Math.min(length, Math.max(SHORTEST, Math.ceil(needed / step) * step))
}

/** Rows in the order of their lengths → batches of one length. */
function* sameLength<T extends { columns: number }>(rows: readonly T[], most: number): Generator<T[]> {
  let batch: T[] = []
  for (const row of rows) {
    if (batch.length === most || (batch.length > 0 && batch[0]!.columns !== row.columns)) {
      yield batch
      batch = []
    }
    batch.push(row)
  }
  if (batch.length > 0) yield batch
}

/** Opens the text tower. Throws usage errors for models without one, or with a vocabulary that no tokenizer has. */
export async function openTextEncoder(model: ImageModel, options: TextEncoderOptions = {}): Promise<TextEncoder> {
  const text = textOf(model)
  const { dim, length } = text
  const tokenizer = await text.openTokenizer()
  const { device = cpuDevice({ cores: 1 }), batchSize = 32, many } = options
  // On a GPU the kernels, and with them the bits, may depend on the length.
  const tokensNeeded: TextTower['tokensNeeded'] = device.kind === 'cpu' ? text.tokensNeeded : undefined
  const precision = options.precision ?? device.precision
  const graph = await text.compile({ precision, ...(tokensNeeded ? { anyLength: true } : {}) })
  const session = await openNetwork(graph, { device, batchSize, leastRows: LEAST_ROWS, single: !many })

  /** Rows [rows, dim] of these ids, each cut to `columns`. */
  const runBatch = async (rows: readonly BigInt64Array[], columns: number): Promise<Float32Array> => {
    const padded = Math.max(LEAST_ROWS, rows.length)
    const data = new BigInt64Array(padded * columns)
    for (let i = 0; i < padded; i++) data.set((rows[i] ?? rows[0]!).subarray(0, columns), i * columns)
    const { outputs } = await session.run({ ids: { data, dtype: 'int64', dims: [padded, columns] } })
    return outputs.clip!.data as Float32Array
  }
  const encodeWindow = async (texts: readonly string[], out: Float32Array): Promise<void> => {
    const ids = tokenizer.encodeBatch(texts, length)
    const rows = texts.map((_, at) => {
      const row = ids.subarray(at * length, (at + 1) * length)
      return { at, row, columns: tokensNeeded ? runLength(tokensNeeded(row), length) : length }
    })
    rows.sort((a, b) => a.columns - b.columns || a.at - b.at)
    const runs = mapOrdered(sameLength(rows, batchSize), RUNS_IN_FLIGHT, async (batch) => {
      const found = await runBatch(
        batch.map(({ row }) => row),
        batch[0]!.columns,
      )
      for (const [i, { at }] of batch.entries()) out.set(found.subarray(i * dim, (i + 1) * dim), at * dim)
    })
    for await (const _ of runs);
  }
  return {
    dim,
    async encode(texts) {
      const out = new Float32Array(texts.length * dim)
      const window = WINDOW * batchSize
      for (let start = 0; start < texts.length; start += window)
        await encodeWindow(texts.slice(start, start + window), out.subarray(start * dim))
      return out
    },
    close: () => session.close(),
  }
}
