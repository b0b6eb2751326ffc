/**
 * Values by step. `cosine` is DINOv2's (warm-up equally spaced from start to base, both included; then half a cosine to
 * the final value, which stays), `openClip` OpenCLIP's (warm-up without the zero), as `golden/pretrain/schedules.json`
 * has them.
 */
export interface CosineSchedule {
  base_value: number
  final_value: number
  total_iters: number
  warmup_iters?: number
  start_warmup_value?: number
}

const halfCosine = (share: number): number => 0.5 * (1 + Math.cos(Math.PI * share))

export function cosineAt(schedule: CosineSchedule, step: number): number {
  const { base_value: base, final_value: end, total_iters: total } = schedule
  const { warmup_iters: warmup = 0, start_warmup_value: start = 0 } = schedule
  if (step >= total) return end
  if (step < warmup) return warmup === 1 ? start : start + ((base - start) * step) / (warmup - 1)
  return end + (base - end) * halfCosine((step - warmup) / (total - warmup))
}

export function openClipAt(
  { base, warmup, steps }: { base: number; warmup: number; steps: number },
  step: number,
): number {
  if (step < warmup) return (base * (step + 1)) / warmup
  return base * halfCosine((step - warmup) / (steps - warmup))
}

/** DINOv2's rule: the rate of a batch of 1,024 by the square root of the batch. */
export function scaledRate(base: number, batch: number): number {
  return base * Math.sqrt(batch / 1024)
}
