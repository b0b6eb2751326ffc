/** The stages of a run for one batch at a time, for what is not a whole run: a sample, or rejects tried again. */

import { createLimiter } from '../../async/stages.js'
import { openPixelPool } from '../../image/pool/pool.js'
import type { EncodeRequest } from '../encode-request.js'
import type { PreparedPlan } from '../ledger/prepare-plan.js'
import type { BatchJob, EncodedBatch } from './batch.js'
import { createPixelBuffers, encodeBatch, fetchBatch, prepareBatch, runViews } from './batches.js'
import { createMeter } from './meter.js'
import { closeModels, openModels, sampleSeedOf } from './models.js'
import { encodeTextBatch } from './texts.js'

export interface BatchEncoder {
  /** Reads, preprocesses and encodes a batch; images that fail are its rejects. */
  encode(batch: BatchJob): Promise<EncodedBatch>
  close(): Promise<void>
}

/** With `isolated`, images are decoded in child processes. */
export async function openBatchEncoder(
  prepared: PreparedPlan,
  request: EncodeRequest,
  isolated: boolean,
): Promise<BatchEncoder> {
  const { plan, source, transform } = prepared
  const { height, width } = transform
  const models = await openModels(prepared, request)
  const limits = { maxPixels: request.maxPixels, timeoutMs: 60_000 }
  const { preprocess } = request.threads
  const pool = openPixelPool(preprocess, isolated)
  const views = runViews(plan.transform, plan.flip)
  const limit = createLimiter(preprocess * 2)
  const buffers = createPixelBuffers(request.batchSize, height * width * 3, plan.flip)
  const widths = { preprocess: 1, encode: 1, write: 1 }
  const meter = createMeter({ total: 0, doneBefore: 0, unitsBefore: 0, unitsTotal: 1, widths })
  const context = { ...models, columns: plan.columns, flip: plan.flip, sampleSeed: sampleSeedOf(plan), buffers, meter }
  return {
    async encode(batch) {
      if (source.kind === 'text') return encodeTextBatch(batch, models.texts!, plan.columns[0]!, meter)
      const fetched = await fetchBatch(batch, { source, meter })
      return encodeBatch(
        await prepareBatch(fetched, { pool: () => pool, views, limits, limit, buffers, meter }),
        context,
      )
    },
    async close() {
      await Promise.allSettled([pool.close(), closeModels(models)])
    },
  }
}
