/** Precision of a training's products, where its optimiser runs, and what its loss is multiplied by. */
import { choosePrecision } from '../engine/choose-device.js'
import { usageError } from '../errors.js'
import type { TrainRequest } from './request.js'
import type { TrainSettings } from './step.js'

/** Throws usage errors `precision_unavailable`, `bad_loss_scale`. */
export function precisionOf({
  engine: { kind },
  precision = 'fp32',
  lossScale,
  stepsPerRun = 1,
}: TrainRequest): Pick<TrainSettings, 'half' | 'inEngine'> {
  // A CPU rounds as halves are rounded: what a GPU would compute can be tried on it.
  const emulated = kind === 'cpu'
  if (!emulated) choosePrecision('--precision', precision, kind)
  if (lossScale !== undefined && precision !== 'fp16')
    throw usageError('bad_loss_scale', `--loss-scale is for --precision fp16; this training has ${precision}`, [
      'leave --loss-scale out',
    ])
  if (typeof lossScale === 'number' && !(lossScale > 0 && Number.isFinite(lossScale)))
    throw usageError('bad_loss_scale', `--loss-scale ${lossScale} is not above 0`, [
      'give a number such as 1024, or dynamic',
    ])
  if (precision === 'fp32') return kind === 'cuda' || stepsPerRun > 1 ? { inEngine: {} } : {}
  const half = { type: precision === 'fp16' ? 'float16' : 'bfloat16', emulated } as const
  return { half, inEngine: precision === 'fp16' ? { lossScale: lossScale ?? 'dynamic' } : {} }
}
