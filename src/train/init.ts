/**
 * A fresh LightningDiT: the laws of the reference's initialize_weights (LightningDiT models/lightningdit.py). Every
 * value is a function of (seed, tensor, element), by Philox. A fresh model gives exactly 0, because the last layer
 * and all modulations are zeros.
 */

import type { DitConfig } from '../model/lightningdit/config.js'
import { stateTensors } from './state.js'
import { normals, STREAMS, uniforms } from './streams.js'

const NORMAL = 0.02

/** What a tensor begins as. */
function lawOf(name: string): 'zeros' | 'ones' | 'normal' | 'xavier' | 'positions' {
  if (name === 'pos_embed') return 'positions'
  if (/norm\w*\.weight$/.test(name)) return 'ones'
  if (name.endsWith('.bias') || name.includes('adaLN_modulation') || name === 'final_layer.linear.weight')
    return 'zeros'
  if (name.startsWith('y_embedder.') || name.startsWith('t_embedder.')) return 'normal'
  return 'xavier'
}

/** The first value of any tensor of the state dict but RoPE's tables. */
export function freshTensor(config: DitConfig, seed: number): (name: string) => Float32Array {
  const shapes = stateTensors(config)
  const names = [...shapes.keys()]
  return (name) => {
    const shape = shapes.get(name)!
    const count = shape.reduce((a, b) => a * b, 1)
    const index = names.indexOf(name)
    switch (lawOf(name)) {
      case 'positions':
        return positions(config)
      case 'zeros':
        return new Float32Array(count)
      case 'ones':
        return new Float32Array(count).fill(1)
      case 'normal':
        return normals(seed, STREAMS.init, index, count).map((value) => value * NORMAL)
      case 'xavier': {
        // A convolution counts as the matrix [out, in · p · p].
        const bound = Math.sqrt(6 / (shape[0]! + count / shape[0]!))
        const out = new Float32Array(count)
        for (let i = 0; i < count; i += 2) {
          const [u, v] = uniforms(seed, STREAMS.init, index, i / 2)
          out[i] = (2 * u - 1) * bound
          if (i + 1 < count) out[i + 1] = (2 * v - 1) * bound
        }
        return out
      }
    }
  }
}

/** Sines and cosines of the column, then of the row: get_2d_sincos_pos_embed, [1, L, D]. */
function positions({ inputSize, patchSize, hiddenSize }: DitConfig): Float32Array {
  const side = inputSize / patchSize
  const quarter = hiddenSize / 4
  const out = new Float32Array(side * side * hiddenSize)
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const base = (row * side + column) * hiddenSize
      for (const [half, position] of [column, row].entries()) {
        for (let k = 0; k < quarter; k++) {
          const angle = position * (1 / 10000 ** (k / quarter))
          out[base + half * 2 * quarter + k] = Math.sin(angle)
          out[base + half * 2 * quarter + quarter + k] = Math.cos(angle)
        }
      }
    }
  }
  return out
}
