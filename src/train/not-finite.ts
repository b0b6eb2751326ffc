/** What is said where a step gives no finite number. */
import path from 'node:path'
import { VtpError } from '../errors.js'
import type { SavedState } from './folder.js'
import { MOST_OVERFLOWS } from './loss-scale.js'
import type { BatchSource } from './source.js'
import type { StepResult } from './step.js'

/** Samples that are named. */
const NAMED = 8

interface Where {
  source: BatchSource
  dest: string
  newest: SavedState | undefined
}

const stateThere = ({ dest, newest }: Where): string =>
  newest ? `${path.join(dest, newest.name)} holds step ${newest.step}` : 'no checkpoint was written yet'

/** Error `loss_scale_overflow`: gradients overflow at every scale of the loss. */
export function overflowError(step: number, { lossScale }: StepResult, where: Where): VtpError {
  return new VtpError(
    `Step ${step}: float16 gradients have overflowed ${MOST_OVERFLOWS} steps in a row, now with the loss times ${lossScale}; ${stateThere(where)}`,
    {
      code: 'loss_scale_overflow',
      suggestions: [
        'train anew with --precision bf16 or fp32, whose gradients do not overflow',
        'or with a lower --lr and --loss-scale dynamic',
      ],
    },
  )
}

/** Error `non_finite_loss`: the step, its bad samples, and the newest state that is good. */
export async function nonFiniteError(
  step: number,
  { mse, cos, gradNorm }: StepResult,
  where: Where,
): Promise<VtpError> {
  const bad = [...mse.keys()].filter((i) => !Number.isFinite(mse[i]!) || (cos && !Number.isFinite(cos[i]!)))
  const all = bad.length === 0
  const named = all ? [...mse.keys()] : bad
  const first = named.slice(0, NAMED)
  const keys = await where.source.keys(step, first).catch(() => first.map((i) => `sample ${i}`))
  const more = named.length > NAMED ? ` and ${named.length - NAMED} more` : ''
  const what = all
    ? `the norm of the gradients is ${gradNorm}; the batch holds`
    : `the loss of ${bad.length} of ${mse.length} samples is not finite:`
  return new VtpError(
    `Step ${step}: ${what} ${keys.join(', ')}${more}. Nothing of this step was applied; ${stateThere(where)}`,
    {
      code: 'non_finite_loss',
      suggestions: [
        'look at these latents (`vtp decode` shows them), and at the statistics that they are divided by',
        'train anew with a lower --lr, or with --max-grad-norm 1',
      ],
    },
  )
}
