import { expect, it } from 'vitest'
import { columnMaxima, quantizeColumns } from '../../graph/linear.js'
import { balanced, blockBalance } from './balance.js'
import type { VitShape } from './tensors.js'

const shape: VitShape = {
  prefix: 'trunk',
  dim: 8,
  depth: 1,
  heads: 2,
  ffn: 'swiglu',
  ffnWidth: 16,
  norm: 'rmsnorm',
  layerScale: false,
  qkNorm: false,
}
const wave = (length: number, seed: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => Math.sin(seed + 1.7 * i))

/** A block whose norms have one channel that is 100 times as large as the others. */
const tensors: Record<string, Float32Array> = {
  'b.norm1.weight': Float32Array.from([1, 1, 100, 1, 1, 1, 1, 1]),
  'b.norm2.weight': Float32Array.from([1, 1, 1, 1, 1, 100, 1, 1]),
  'b.attn.qkv.weight': wave(24 * 8, 1),
  'b.attn.proj.weight': wave(64, 2),
  'b.mlp.w1.weight': wave(128, 3),
  'b.mlp.w2.weight': wave(128, 4),
  'b.mlp.w3.weight': wave(128, 5),
}
const read = async (name: string): Promise<Float32Array> => tensors[name]!

it('a loud channel of a norm is shared out evenly between activations and weights', async () => {
  const divisors = await blockBalance(read, shape, 'b').norm1()
  const after = tensors['b.norm1.weight']!.map((weight, i) => weight / divisors[i]!)
  const spread = (values: Float32Array): number => Math.max(...values) / Math.min(...values)
  expect(spread(after)).toBeLessThan(0.2 * spread(tensors['b.norm1.weight']!))
  expect(divisors[2]! / divisors[3]!).toBeGreaterThan(5)
})

it('balancing changes nothing in exact arithmetic: (x / b) · (b · W / c) · c = x · W', async () => {
  const { norm2, hidden } = blockBalance(read, shape, 'b')
  const matrix = wave(8 * 16, 6) // [K, N]
  const [rows, columns] = [await norm2(), await hidden!()]
  const changed = await balanced(matrix, norm2, hidden)
  const x = wave(8, 7)
  for (let n = 0; n < 16; n++) {
    let [before, after] = [0, 0]
    for (let k = 0; k < 8; k++) {
      before += x[k]! * matrix[k * 16 + n]!
      after += (x[k]! / rows[k]!) * changed[k * 16 + n]! * columns[n]!
    }
    expect(after).toBeCloseTo(before, 4)
  }
})

it('columns use the whole range of 8 bits, and a column of zeros stays zero', () => {
  const matrix = Float32Array.from([0.5, 0, -3, 0.25, 0, 1]) // [2, 3]
  expect([...columnMaxima(matrix, 3)]).toEqual([0.5, 0, 3])
  expect([...quantizeColumns(matrix, 3)]).toEqual([127, 0, -127, 64, 0, 42])
})
