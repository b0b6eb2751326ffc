/** What is said where a step gives no finite number. */
import path from 'node:path'
import { VtpError } from '../errors.js'
import type { SavedState } from './folder.js'
import type { BatchSource } from './source.js'
import type { StepResult } from './step.js'

/** Samples that are named. */
const NAMED = 8

/** Error `non_finite_loss`: the step, its bad samples, and the newest state that is good. */
export async function nonFiniteError(
  step: number,
  { mse, cos, gradNorm }: StepResult,
  { source, dest, newest }: { source: BatchSource; dest: string; newest: SavedState | undefined },
): Promise<VtpError> {
  const bad = [...mse.keys()].filter((i) => !Number.isFinite(mse[i]!) || (cos && !Number.isFinite(cos[i]!)))
  const all = bad.length === 0
  const named = all ? [...mse.keys()] : bad
  const first = named.slice(0, NAMED)
  const keys = await source.keys(step, first).catch(() => first.map((i) => `sample ${i}`))
  const more = named.length > NAMED ? ` and ${named.length - NAMED} more` : ''
  const what = all
    ? `the norm of the gradients is ${gradNorm}; the batch holds`
    : `the loss of ${bad.length} of ${mse.length} samples is not finite:`
  const there = newest ? `${path.join(dest, newest.name)} holds step ${newest.step}` : 'no checkpoint was written yet'
  return new VtpError(`Step ${step}: ${what} ${keys.join(', ')}${more}. Nothing of this step was applied; ${there}`, {
    code: 'non_finite_loss',
    suggestions: [
      'look at these latents (`vtp decode` shows them), and at the statistics that they are divided by',
      'train anew with a lower --lr, or with --max-grad-norm 1',
    ],
  })
}
