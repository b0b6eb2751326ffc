/**
 * What a network takes on a device, estimated from its shapes. An estimate is all that it is: the engine halves its
 * batch where it is too low (engine/batching.ts), and nothing depends on it but speed.
 */
import type { Precision } from '../graph/precision.js'
import type { ImageSize, MemoryLoad } from './image-model.js'

/** ONNX Runtime's arena grows in powers of two and keeps pieces that fit nothing else. */
const ARENA = 2

/** Bytes of a weight or an activation. */
export function elementBytes(precision: Precision): number {
  return precision === 'fp16' || precision === 'bf16' ? 2 : 4
}

/** Elements of tensors of these shapes. */
export function countElements(shapes: Iterable<readonly number[]>): number {
  let total = 0
  for (const shape of shapes) total += shape.reduce((a, b) => a * b, 1)
  return total
}

export interface NetworkShape {
  /** Elements of all weights. */
  weights: number
  /** Elements of the activations that one row holds at the network's widest place. */
  activations: number
  /** The image that goes in or comes out: uint8, and float32 twice while it is normalised. */
  image: ImageSize
}

export function networkLoad({ weights, activations, image }: NetworkShape, precision: Precision): MemoryLoad {
  const element = elementBytes(precision)
  const pixels = image.height * image.width * 3 * (1 + 2 * 4)
  return { weightBytes: weights * element, rowBytes: ARENA * (activations * element + pixels) }
}

/** Activations of a transformer block at its widest: either q, k, v and attention's result, or the feed-forward products. */
export function blockActivations({ tokens, dim, hidden }: { tokens: number; dim: number; hidden: number }): number {
  const attention = tokens * 6 * dim // the residual, its norm, q, k, v and what is attended
  const feedForward = tokens * (2 * dim + 3 * hidden) // the residual, its norm, both products and what they make
  return Math.max(attention, feedForward)
}
