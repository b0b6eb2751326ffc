/**
 * AdamW, the moving average and the norm of all gradients, outside of the graph: WebAssembly goes over the arrays in
 * blocks that stay in the processor's cache, so that every array is read and written once per step. In the graph each
 * operation of the update would read and write memory (a quarter of a step's time; this is a few percent).
 */
import { VtpError } from '../errors.js'
import { ensureMemory, onceWasm, type WasmMemory } from '../wasm.js'
import { ADAMW_WASM } from './adamw-bytes.js'

interface Kernel {
  memory: WasmMemory
  update(
    stride: number,
    count: number,
    gradientScale: number,
    oneMinusBeta1: number,
    beta2: number,
    oneMinusBeta2: number,
    root: number,
    epsilon: number,
    stepSize: number,
    keep: number,
    emaDecay: number,
    oneMinusDecay: number,
  ): void
  sumOfSquares(count: number): number
}

export interface OptimizerSettings {
  beta1: number
  beta2: number
  epsilon: number
  weightDecay: number
  emaDecay: number
  /** The largest norm of all gradients together; undefined: they are not clipped. */
  maxGradNorm?: number
}

/** torch.optim.AdamW as the reference's train.py makes it, and its moving average. */
export const OPTIMIZER_DEFAULTS: OptimizerSettings = {
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0,
  emaDecay: 0.9999,
}

/** A trained tensor with its moments and its average, each changed in place. */
export interface TrainedTensor {
  parameter: Float32Array
  expAvg: Float32Array
  expAvgSq: Float32Array
  ema: Float32Array
}

/** Elements of a block: five arrays of it lie in a second-level cache. */
const BLOCK = 8192
const ARRAYS = 5
const STRIDE = BLOCK * 4 + 64

const kernel = onceWasm<Kernel>(ADAMW_WASM)

function openKernel(): { kernel: Kernel; arrays: Float32Array[] } {
  const found = kernel()
  if (!found) {
    throw new VtpError('Training needs WebAssembly with 128-bit vectors, which this Node lacks', {
      code: 'no_webassembly',
      suggestions: ['leave out --jitless and like options of Node'],
    })
  }
  ensureMemory(found.memory, ARRAYS * STRIDE)
  const { buffer } = found.memory
  return {
    kernel: found,
    arrays: Array.from({ length: ARRAYS }, (_, i) => new Float32Array(buffer, i * STRIDE, BLOCK)),
  }
}

/** The Euclidean norm of all gradients together. */
export function globalNorm(gradients: readonly Float32Array[]): number {
  const { kernel, arrays } = openKernel()
  let total = 0
  for (const gradient of gradients) {
    for (let from = 0; from < gradient.length; from += BLOCK) {
      const part = gradient.subarray(from, from + BLOCK)
      arrays[0]!.set(part)
      total += kernel.sumOfSquares(part.length)
    }
  }
  return Math.sqrt(total)
}

/** What gradients are multiplied by: torch.nn.utils.clip_grad_norm_. */
export function clipFactor(norm: number, { maxGradNorm }: Pick<OptimizerSettings, 'maxGradNorm'>): number {
  return maxGradNorm === undefined ? 1 : Math.min(1, maxGradNorm / (norm + 1e-6))
}

export interface UpdateRates {
  lr: number
  /** Counts from 1: decides the correction of the moments. */
  step: number
  /** What gradients are multiplied by. */
  gradientScale: number
}

/** One step of one tensor. */
export function updateTensor(
  { parameter, expAvg, expAvgSq, ema }: TrainedTensor,
  gradient: Float32Array,
  settings: OptimizerSettings,
  { lr, step, gradientScale }: UpdateRates,
): void {
  const { kernel, arrays } = openKernel()
  const { beta1, beta2, epsilon, weightDecay, emaDecay } = settings
  const stepSize = lr / (1 - beta1 ** step)
  const root = Math.sqrt(1 - beta2 ** step)
  const given = [gradient, expAvg, expAvgSq, parameter, ema]
  for (let from = 0; from < parameter.length; from += BLOCK) {
    const count = Math.min(BLOCK, parameter.length - from)
    given.forEach((array, i) => {
      arrays[i]!.set(array.subarray(from, from + count))
    })
    kernel.update(
      STRIDE,
      Math.ceil(count / 4) * 4,
      gradientScale,
      1 - beta1,
      beta2,
      1 - beta2,
      root,
      epsilon,
      stepSize,
      1 - lr * weightDecay,
      emaDecay,
      1 - emaDecay,
    )
    for (let i = 1; i < ARRAYS; i++) given[i]!.set(arrays[i]!.subarray(0, count), from)
  }
}

/** The average of a tensor that is not trained (pos_embed): it follows the tensor all the same. */
export function averageFrozen(ema: Float32Array, parameter: Float32Array, decay: number): void {
  const [keep, take] = [Math.fround(decay), Math.fround(1 - decay)]
  for (let i = 0; i < ema.length; i++) {
    ema[i] = Math.fround(ema[i]! * keep) + Math.fround(parameter[i]! * take)
  }
}
