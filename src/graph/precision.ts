/**
 * Arithmetic of a graph. `fp32` is the reference's, rounding for rounding; `int8` multiplies 8-bit rows by
 * 8-bit columns on the CPU; `fp16` and `bf16` are for GPUs and skip the reference's extra roundings, which
 * are as coarse as their own. What is stored is a choice of its own (`dtype`).
 */
export const PRECISIONS = ['fp32', 'fp16', 'bf16', 'int8'] as const
/**
 * `bf16-simulated` is for comparison only: an fp32 graph that rounds to bfloat16 where the official code does
 * under autocast (inputs, weights and results of products, q, k and v, CLIP's embedding, the decoder's residual).
 */
export type Precision = (typeof PRECISIONS)[number] | 'bf16-simulated'

/** Element type of the activations between products, as ONNX numbers it. */
export type ActivationDtype = 'float32' | 'float16' | 'bfloat16'

export function activationDtype(precision: Precision): ActivationDtype {
  return precision === 'fp16' ? 'float16' : precision === 'bf16' ? 'bfloat16' : 'float32'
}

export function simulatesBf16(precision: Precision): boolean {
  return precision === 'bf16-simulated'
}

/** Whether rotary embedding rounds to bfloat16 after every operation, as the reference does. */
export function roundsRotation(precision: Precision): boolean {
  return precision === 'fp32' || precision === 'bf16-simulated'
}
