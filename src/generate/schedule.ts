/**
 * The grid of times, from noise (0) to data (1), in the reference's float32 arithmetic.
 * Reference: LightningDiT transport/integrators.py (ode.__init__, compute_tm), torch.linspace.
 */
import { usageError } from '../errors.js'

const f32 = Math.fround

/**
 * `steps` points: torch.linspace(0, 1, steps), then s·t / (1 + (s − 1)·t) for a shift s > 0. Euler and Heun
 * do steps − 1 steps on it. Throws usage error `bad_steps` for fewer than two.
 */
export function timeGrid(steps: number, shift: number): Float32Array {
  if (!Number.isInteger(steps) || steps < 2) {
    throw usageError('bad_steps', `--steps ${steps}: the sampler needs at least 2 points of time (one step)`, [
      'the reference uses 250; N points are N − 1 steps',
    ])
  }
  const step = f32(1 / (steps - 1))
  const s = f32(shift)
  const less = f32(shift - 1)
  return Float32Array.from({ length: steps }, (_, i) => {
    // The second half counts down from 1, in one fused operation: its product is not rounded.
    const t = i < Math.floor(steps / 2) ? f32(step * i) : f32(1 - step * (steps - i - 1))
    return shift > 0 ? f32(f32(s * t) / f32(1 + f32(less * t))) : t
  })
}
