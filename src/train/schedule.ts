/** Learning rates by step: constant, as the reference's, or a cosine to zero; both after a linear warm-up. */
export const SCHEDULES = ['constant', 'cosine'] as const

export interface Schedule {
  kind: (typeof SCHEDULES)[number]
  lr: number
  /** Steps of the warm-up: step w of W has w / W of the rate. */
  warmup: number
  /** The last step; only a cosine depends on it. */
  steps?: number
}

/** `step` counts from 1. */
export function rateAt({ kind, lr, warmup, steps = 0 }: Schedule, step: number): number {
  if (step <= warmup) return (lr * step) / warmup
  if (kind === 'constant') return lr
  const progress = Math.min(1, (step - warmup) / Math.max(1, steps - warmup))
  return (lr * (1 + Math.cos(Math.PI * progress))) / 2
}
