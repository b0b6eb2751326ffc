/**
 * Evening out channels before int8 quantisation. A channel that carries large values takes the whole range
 * of its row's 8 bits; dividing it by b and multiplying the matching rows of the next matrix by b changes
 * nothing in exact arithmetic. b is the geometric mean that leaves activation and weight alike: no data is
 * needed, because the preceding norm's weight (or the preceding matrix's row) says how large a channel gets.
 * (The idea is that of SmoothQuant, Xiao et al. 2023, with weights instead of calibration data.)
 */

import { HUSH, type LoudChannels } from '../../graph/loud.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import type { VitShape } from './tensors.js'

/** Divisors by channel. Computed once, when the weights are written. */
export type Balance = () => Promise<Float32Array>

export interface BlockBalance {
  /** Outputs of norm1, inputs of q, k and v: [D]. */
  norm1: Balance
  /** Outputs of v, inputs of the attention's projection: [D]. */
  values: Balance
  /** Outputs of norm2, inputs of the first feed-forward products: [D]. */
  norm2: Balance
  /** Outputs of w2, inputs of w3: [width]; none for an MLP, whose activation is not linear in anything. */
  hidden?: Balance
}

/** A normed value reaches about this many times its root mean square in one row. */
const PEAK = 3

function once(make: Balance): Balance {
  let value: Promise<Float32Array> | undefined
  return () => {
    value ??= make()
    return value
  }
}

/** √(size / weight), 1 where either is zero. */
function geometric(sizes: Float32Array, weights: Float32Array): Float32Array {
  return sizes.map((size, i) => (size > 0 && weights[i]! > 0 ? Math.sqrt(size / weights[i]!) : 1))
}

/** Largest magnitude of every input channel of an official matrix [out, in]. */
function inputMaxima(matrix: Float32Array, inner: number): Float32Array {
  const out = new Float32Array(inner)
  for (let at = 0; at < matrix.length; at += inner)
    for (let i = 0; i < inner; i++) out[i] = Math.max(out[i]!, Math.abs(matrix[at + i]!))
  return out
}

/** Root mean square of every output of an official matrix [out, in] for inputs of these sizes. */
function outputSizes(matrix: Float32Array, sizes: Float32Array): Float32Array {
  const inner = sizes.length
  return Float32Array.from({ length: matrix.length / inner }, (_, o) => {
    let sum = 0
    for (let i = 0; i < inner; i++) sum += (matrix[o * inner + i]! * sizes[i]!) ** 2
    return Math.sqrt(sum)
  })
}

/** The divisors of one block; `base` is its name in the checkpoint. Loud channels are hushed (loud.ts). */
export function blockBalance(read: ReadTensor, shape: VitShape, base: string, loud?: LoudChannels): BlockBalance {
  const { dim } = shape
  const hushed = (divisors: Float32Array, channels: number[] = []): Float32Array => {
    for (const i of channels) divisors[i] = HUSH
    return divisors
  }
  const normSizes = async (name: string): Promise<Float32Array> => {
    const weight = await read(`${base}.${name}.weight`)
    if (shape.norm === 'rmsnorm') return weight.map((w) => PEAK * Math.abs(w))
    const bias = await read(`${base}.${name}.bias`)
    return weight.map((w, i) => PEAK * Math.abs(w) + Math.abs(bias[i]!))
  }
  const valueRows = async (): Promise<Float32Array> => (await read(`${base}.attn.qkv.weight`)).subarray(2 * dim * dim)
  const ups = shape.ffn === 'mlp' ? ['fc1'] : ['w1', 'w2']
  const out: BlockBalance = {
    norm1: once(async () =>
      hushed(geometric(await normSizes('norm1'), inputMaxima(await read(`${base}.attn.qkv.weight`), dim)), loud?.norm1),
    ),
    values: once(async () =>
      geometric(
        outputSizes(await valueRows(), await normSizes('norm1')),
        inputMaxima(await read(`${base}.attn.proj.weight`), dim),
      ),
    ),
    norm2: once(async () => {
      const weights = new Float32Array(dim)
      for (const name of ups) {
        const maxima = inputMaxima(await read(`${base}.mlp.${name}.weight`), dim)
        maxima.forEach((max, i) => {
          weights[i] = Math.max(weights[i]!, max)
        })
      }
      return hushed(geometric(await normSizes('norm2'), weights), loud?.norm2)
    }),
  }
  if (shape.ffn !== 'mlp') {
    out.hidden = once(async () => {
      const sizes = await normSizes('norm2')
      const gate = outputSizes(await read(`${base}.mlp.w1.weight`), sizes)
      const value = outputSizes(await read(`${base}.mlp.w2.weight`), sizes)
      const down = inputMaxima(await read(`${base}.mlp.w3.weight`), shape.ffnWidth)
      return geometric(
        gate.map((g, j) => g * value[j]!),
        down,
      )
    })
  }
  return out
}

/** [K, N] with row k multiplied by rows[k] and column n divided by columns[n]; a vector is one row. */
export async function balanced(matrix: Float32Array, rows?: Balance, columns?: Balance): Promise<Float32Array> {
  if (!rows && !columns) return matrix
  const [byRow, byColumn] = await Promise.all([rows?.(), columns?.()])
  const outer = byColumn?.length ?? matrix.length / byRow!.length
  const out = new Float32Array(matrix.length)
  for (let at = 0, k = 0; at < matrix.length; at += outer, k++) {
    const factor = byRow ? byRow[k]! : 1
    for (let n = 0; n < outer; n++) out[at + n] = (matrix[at + n]! * factor) / (byColumn ? byColumn[n]! : 1)
  }
  return out
}
