/** Rows per pass where the user gave no number: what suits the device, and on a GPU no more than fit into its free memory. */
import { chooseBatch } from '../../engine/device.js'
import type { Precision } from '../../model/index.js'
import type { EncodeRequest } from '../encode-request.js'
import type { PreparedPlan } from '../ledger/prepare-plan.js'

/** Texts are short, and those of a length run together: at least so many are taken at once. */
const TEXTS = 256

/** The request with the batch size that is used. */
export async function withBatchSize<T extends EncodeRequest>(
  { plan, model, source, transform }: Pick<PreparedPlan, 'plan' | 'model' | 'source' | 'transform'>,
  request: T,
): Promise<T> {
  const { engine, batchSize: most, onNote } = request
  if (!request.fitsBatch) return request
  if (source.kind === 'text') return { ...request, batchSize: Math.max(most, TEXTS) }
  const load = model.encoderLoad(transform, plan.precision as Precision)
  // The first unit is the largest: for fewer images than a pass takes, less is opened.
  const rows = Math.min(most, plan.units[0]?.rows ?? most)
  return { ...request, batchSize: await chooseBatch(engine, load, { most: rows, onNote }) }
}
