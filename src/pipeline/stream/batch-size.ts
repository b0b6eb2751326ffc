/** Rows per pass where the user gave no number: what suits the device, and on a GPU no more than fit into its free memory. */
import { fitLanes, freeGpuMemory } from '../../engine/gpu-memory.js'
import type { Precision } from '../../model/index.js'
import type { EncodeRequest } from '../encode-request.js'
import type { PreparedPlan } from '../ledger/prepare-plan.js'

/** Texts are short: a pass takes at least this many. */
const TEXTS = 32

/** The request with the batch size that is used. */
export async function withBatchSize<T extends EncodeRequest>(
  { plan, model, source, transform }: Pick<PreparedPlan, 'plan' | 'model' | 'source' | 'transform'>,
  request: T,
  readFree: () => Promise<(number | null)[]> = freeGpuMemory,
): Promise<T> {
  const { lanes, batchSize } = request
  if (!request.fitsBatch) return request
  if (source.kind === 'text') return { ...request, batchSize: Math.max(batchSize, TEXTS) }
  if (!lanes?.some(([first]) => first?.startsWith('cuda'))) return request
  const load = model.encoderLoad(transform, plan.precision as Precision)
  const fitting = fitLanes(batchSize, lanes, await readFree(), load)
  if (fitting < batchSize) request.onNote?.(`batches of ${fitting}: more would not fit into the GPU's free memory`)
  return { ...request, batchSize: fitting }
}
