/**
 * What is compared after decoding, as one graph: reference and reconstruction are brought back to 0…1 in
 * the official script's arithmetic (tools/test_reconstruction_hf.py), clamped, truncated to 8 bits, and
 * compared by LPIPS with VGG16 (vtp/utils/lpips.py; Zhang et al. 2018, version 0.1).
 *
 * LPIPS leaves the graph as five maps per image, which are averaged outside in float64: the order in
 * which ONNX Runtime sums over an image may change with the batch, a result here may not.
 */

import type { GraphBuilder, Value } from '../../graph/builder.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { IMAGENET_MEAN, IMAGENET_STD } from '../../image/normalize.js'
import type { PixelRounding } from '../image-model.js'

/** torchvision's `features` of VGG16: [index, in, out], cut before each of the four pools. */
const SLICES: [number, number, number][][] = [
  [
    [0, 3, 64],
    [2, 64, 64],
  ],
  [
    [5, 64, 128],
    [7, 128, 128],
  ],
  [
    [10, 128, 256],
    [12, 256, 256],
    [14, 256, 256],
  ],
  [
    [17, 256, 512],
    [19, 512, 512],
    [21, 512, 512],
  ],
  [
    [24, 512, 512],
    [26, 512, 512],
    [28, 512, 512],
  ],
]
export const LPIPS_LAYERS = SLICES.length

/** The scaling layer's constants: mean and deviation of ImageNet, of values in −1…1. */
const SHIFT = [-0.03, -0.088, -0.188]
const SCALE = [0.458, 0.448, 0.45]

const SCRIPT_ARITHMETIC = { mean: IMAGENET_MEAN, std: IMAGENET_STD, rounding: 'truncate' } as const

export interface PairSpec {
  /** Whether the VGG and LPIPS weights are there and `lpips.0` … `lpips.4` are wanted. */
  lpips: boolean
  /** How a decoder's `image` becomes 0…1 and 8 bits, where not as in VTP's script; originals are then taken as they are. */
  decoded?: { mean: readonly number[]; std: readonly number[]; rounding: PixelRounding }
  /** Element type of the originals, where not uint8; float32 is in 0…1, for specs with `decoded`. */
  pixels?: 'float32'
}

/**
 * Inputs: `pixels` uint8 [N,H,W,3], the preprocessed original; `image` float32 [N,3,H,W], the decoder's
 * output (normalised). Outputs: `reference`, `reconstruction` float32 [N,3,H,W] in 0…1; `reference_u8`,
 * `reconstruction_u8` uint8 [N,H,W,3] as the script saves them; `lpips.k` float32 [N,1,h,w].
 */
export async function buildPair(graph: GraphBuilder, read: ReadTensor, spec: PairSpec): Promise<void> {
  const perChannel = (values: number[]): Value => graph.constant(values, [1, 3, 1, 1])
  const pixels = graph.input({ name: 'pixels', dtype: spec.pixels ?? 'uint8', shape: ['N', 'H', 'W', 3] })
  const image = graph.input({ name: 'image', dtype: 'float32', shape: ['N', 3, 'H', 'W'] })

  // VTP's script normalises the originals and brings them back: that does not undo it exactly, and it counts.
  const floats = spec.pixels ? pixels : graph.op('Cast', [pixels], { to: 1 })
  const planes = graph.op('Transpose', [floats], { perm: [0, 3, 1, 2] })
  const unit = spec.pixels ? planes : graph.op('Div', [planes, graph.scalar(255)])
  const { mean: means, std: stds, rounding } = spec.decoded ?? SCRIPT_ARITHMETIC
  const mean = perChannel(means.map((m, c) => -m / stds[c]!))
  const std = perChannel(stds.map((s) => 1 / s))
  const back = (x: Value): Value => {
    const y = graph.op('Div', [graph.op('Sub', [x, mean]), std])
    return graph.op('Clip', [y, graph.scalar(0), graph.scalar(1)])
  }
  const normalise = (x: Value): Value =>
    graph.op('Div', [graph.op('Sub', [x, perChannel([...means])]), perChannel([...stds])])
  const reference = spec.decoded ? unit : back(normalise(unit))
  const reconstruction = back(image)
  for (const [name, value] of [
    ['reference', reference],
    ['reconstruction', reconstruction],
  ] as const) {
    graph.output(value, { name, dtype: 'float32', shape: ['N', 3, 'H', 'W'] })
    const scaled = graph.op('Mul', [graph.op('Transpose', [value], { perm: [0, 2, 3, 1] }), graph.scalar(255)])
    const bytes = graph.op(
      'Cast',
      [
        name === 'reference' && spec.decoded && !spec.pixels
          ? round(graph, scaled, 'half-even')
          : round(graph, scaled, rounding),
      ],
      { to: 2 },
    )
    graph.output(bytes, { name: `${name}_u8`, dtype: 'uint8', shape: ['N', 'H', 'W', 3] })
  }
  if (!spec.lpips) return

  const centred = (x: Value): Value => graph.op('Sub', [graph.op('Mul', [x, graph.scalar(2)]), graph.scalar(1)])
  const own = (name: string, shape: number[]): Value =>
    graph.weight(name, shape, () => read(name.startsWith('lin') ? `${name}.model.1.weight` : name))
  addLpipsMaps(graph, own, centred(reference), centred(reconstruction)).forEach((map, k) => {
    graph.output(map, { name: `lpips.${k}`, dtype: 'float32', shape: ['N', 1, `h${k}`, `w${k}`] })
  })
}

/** Smallest sum of squares of a place's features where their gradient is wanted: the root of 0 has none. */
const LEAST_SQUARES = 1e-20

/**
 * The five maps of LPIPS [N, 1, h, w] of two batches of planes in −1…1. `weight` gives `features.I.weight`,
 * `features.I.bias` and `linK` [1, C, 1, 1]. With `guarded` the gradient is 0, not NaN, where all channels are 0.
 */
export function addLpipsMaps(
  graph: GraphBuilder,
  weight: (name: string, shape: number[]) => Value,
  first: Value,
  second: Value,
  guarded = false,
): Value[] {
  const scaled = (x: Value): Value =>
    graph.op('Div', [graph.op('Sub', [x, graph.constant(SHIFT, [1, 3, 1, 1])]), graph.constant(SCALE, [1, 3, 1, 1])])
  let [a, b] = [scaled(first), scaled(second)]
  return SLICES.map((slice, k) => {
    if (k > 0) [a, b] = [pool(graph, a), pool(graph, b)]
    for (const [index, inner, out] of slice) {
      const name = `features.${index}`
      const kernel = weight(`${name}.weight`, [out, inner, 3, 3])
      const bias = weight(`${name}.bias`, [out])
      const conv = (x: Value): Value =>
        graph.op('Relu', [graph.op('Conv', [x, kernel, bias], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] })])
      ;[a, b] = [conv(a), conv(b)]
    }
    const channels = slice.at(-1)![2]
    const head = weight(`lin${k}`, [1, channels, 1, 1])
    const ones = graph.constant(new Float32Array(channels).fill(1), [1, channels, 1, 1])
    // Sums over channels are 1 × 1 convolutions: their order does not depend on the batch.
    const unitLength = (x: Value): Value => {
      const sums = graph.op('Conv', [graph.op('Mul', [x, x]), ones], { kernel_shape: [1, 1] })
      const squares = guarded ? graph.op('Max', [sums, graph.scalar(LEAST_SQUARES)]) : sums
      return graph.op('Div', [x, graph.op('Add', [graph.op('Sqrt', [squares]), graph.scalar(1e-10)])])
    }
    const difference = graph.op('Sub', [unitLength(a), unitLength(b)])
    return graph.op('Conv', [graph.op('Mul', [difference, difference]), head], { kernel_shape: [1, 1] })
  })
}

/** Floats of 0…255 as the numbers that a cast to uint8, which cuts off, then keeps. */
function round(graph: GraphBuilder, x: Value, rounding: PixelRounding): Value {
  if (rounding === 'half-even') return graph.op('Round', [x])
  return rounding === 'half-up' ? graph.op('Add', [x, graph.scalar(0.5)]) : x
}

function pool(graph: GraphBuilder, x: Value): Value {
  return graph.op('MaxPool', [x], { kernel_shape: [2, 2], strides: [2, 2] })
}

/** Names of every tensor that LPIPS reads, by the file that holds it. */
export const VGG_TENSORS = SLICES.flat().flatMap(([index]) => [`features.${index}.weight`, `features.${index}.bias`])
export const LPIPS_TENSORS = SLICES.map((_, k) => `lin${k}.model.1.weight`)
