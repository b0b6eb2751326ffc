/** What a sampler is asked for. */

export const SAMPLERS = ['euler', 'heun', 'dopri5'] as const
export type SamplerName = (typeof SAMPLERS)[number]

export interface SamplerSettings {
  method: SamplerName
  /** Times from 0 to 1 (`timeGrid`). */
  grid: Float32Array
  atol: number
  rtol: number
  /** dopri5: this many consecutive samples share one step size, as a batch of the reference does. */
  group: number
}

export interface SampleRequest {
  /** [N, C, H, W]; not changed. */
  noise: Float32Array
  labels: readonly number[]
  /** Called after every grid point from the second on, with the state there. */
  onPoint?: (index: number, x: Float32Array) => void
  /** Called after every evaluation of the model. */
  onEvaluation?: () => void
  stop?: AbortSignal
}
