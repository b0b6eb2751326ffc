/**
 * Inception-v3 as FID uses it: the network of TensorFlow's 2015-12-05 release, ported to PyTorch by
 * pytorch-fid (github.com/mseitzer/pytorch-fid, inception.py, whose tensor names are used here). It differs
 * from torchvision's in that average pools do not count their padding and the last block has a max pool.
 * Batch norm (epsilon 0.001) is folded into the convolutions.
 *
 * Flavours differ in how an image becomes 299 × 299 (both bilinear without antialiasing, in float):
 * - `pytorch-fid`: pixel centres (align_corners=False), then 2x − 1 of x in 0…1;
 * - `adm`: pixel corners as TensorFlow 1 (source = target × scale), then (x − 128) / 128 of x in 0…255,
 *   as the evaluator of guided-diffusion (github.com/openai/guided-diffusion, evaluations/evaluator.py);
 * - `clean-fid`: the input is already 299 × 299 float (Pillow's antialiased bicubic, see clean-resize.ts).
 */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import type { ReadTensor } from '../../graph/read-tensor.js'

export const FID_FLAVOURS = ['pytorch-fid', 'adm', 'clean-fid'] as const
export type FidFlavour = (typeof FID_FLAVOURS)[number]

/** Features by their width: the outputs of four blocks, averaged over space. */
export const FID_DIMS = [64, 192, 768, 2048] as const
export type FidDims = (typeof FID_DIMS)[number]

export interface InceptionSpec {
  flavour: FidFlavour
  /** Outputs `pool64` … `pool2048`, float32 [N, dims]. */
  dims: FidDims[]
  /** `spatial` float32 [N, 2023]: the first 7 channels of Mixed_6d, [17, 17, 7] in C order, which sFID compares. */
  spatial?: boolean
  /** `logits` float32 [N, 1008], without the bias, as Inception Score is computed by ADM and torch-fidelity. */
  logits?: boolean
}

const BN_EPSILON = 0.001
export const INCEPTION_SIZE = 299
const SPATIAL_CHANNELS = 7

interface ConvOptions {
  stride?: number
  /** Height, width. */
  pad?: [number, number]
}

export async function buildInception(graph: GraphBuilder, read: ReadTensor, spec: InceptionSpec): Promise<void> {
  /** BasicConv2d: convolution without bias, batch norm, ReLU. */
  const conv = (
    x: Value,
    name: string,
    out: number,
    inner: number,
    kernel: [number, number],
    options: ConvOptions = {},
  ) => {
    const [kh, kw] = kernel
    const area = inner * kh * kw
    const scale = async (): Promise<Float64Array> => {
      const [gamma, variance] = await Promise.all([read(`${name}.bn.weight`), read(`${name}.bn.running_var`)])
      return Float64Array.from(gamma, (g, i) => g / Math.sqrt(variance[i]! + BN_EPSILON))
    }
    const weight = graph.weight(`${name}.weight`, [out, inner, kh, kw], async () => {
      const [values, factor] = await Promise.all([read(`${name}.conv.weight`), scale()])
      return values.map((value, i) => value * factor[Math.floor(i / area)]!)
    })
    const bias = graph.weight(`${name}.bias`, [out], async () => {
      const [beta, mean, factor] = await Promise.all([
        read(`${name}.bn.bias`),
        read(`${name}.bn.running_mean`),
        scale(),
      ])
      return beta.map((b, i) => b - mean[i]! * factor[i]!)
    })
    const [ph, pw] = options.pad ?? [0, 0]
    const stride = options.stride ?? 1
    const y = graph.op('Conv', [x, weight, bias], {
      kernel_shape: kernel,
      strides: [stride, stride],
      pads: [ph, pw, ph, pw],
    })
    return graph.op('Relu', [y])
  }
  const maxPool = (x: Value, stride: number, pad = 0): Value =>
    graph.op('MaxPool', [x], { kernel_shape: [3, 3], strides: [stride, stride], pads: [pad, pad, pad, pad] })
  const averagePool = (x: Value): Value =>
    graph.op('AveragePool', [x], { kernel_shape: [3, 3], strides: [1, 1], pads: [1, 1, 1, 1], count_include_pad: 0 })
  const concat = (parts: Value[]): Value => graph.op('Concat', parts, { axis: 1 })

  const blockA = (x: Value, name: string, inner: number, pool: number): Value => {
    const b1 = conv(x, `${name}.branch1x1`, 64, inner, [1, 1])
    let b5 = conv(x, `${name}.branch5x5_1`, 48, inner, [1, 1])
    b5 = conv(b5, `${name}.branch5x5_2`, 64, 48, [5, 5], { pad: [2, 2] })
    let b3 = conv(x, `${name}.branch3x3dbl_1`, 64, inner, [1, 1])
    b3 = conv(b3, `${name}.branch3x3dbl_2`, 96, 64, [3, 3], { pad: [1, 1] })
    b3 = conv(b3, `${name}.branch3x3dbl_3`, 96, 96, [3, 3], { pad: [1, 1] })
    return concat([b1, b5, b3, conv(averagePool(x), `${name}.branch_pool`, pool, inner, [1, 1])])
  }
  const blockB = (x: Value, name: string, inner: number): Value => {
    const b3 = conv(x, `${name}.branch3x3`, 384, inner, [3, 3], { stride: 2 })
    let d3 = conv(x, `${name}.branch3x3dbl_1`, 64, inner, [1, 1])
    d3 = conv(d3, `${name}.branch3x3dbl_2`, 96, 64, [3, 3], { pad: [1, 1] })
    d3 = conv(d3, `${name}.branch3x3dbl_3`, 96, 96, [3, 3], { stride: 2 })
    return concat([b3, d3, maxPool(x, 2)])
  }
  const blockC = (x: Value, name: string, c: number): Value => {
    const b1 = conv(x, `${name}.branch1x1`, 192, 768, [1, 1])
    let b7 = conv(x, `${name}.branch7x7_1`, c, 768, [1, 1])
    b7 = conv(b7, `${name}.branch7x7_2`, c, c, [1, 7], { pad: [0, 3] })
    b7 = conv(b7, `${name}.branch7x7_3`, 192, c, [7, 1], { pad: [3, 0] })
    let d7 = conv(x, `${name}.branch7x7dbl_1`, c, 768, [1, 1])
    d7 = conv(d7, `${name}.branch7x7dbl_2`, c, c, [7, 1], { pad: [3, 0] })
    d7 = conv(d7, `${name}.branch7x7dbl_3`, c, c, [1, 7], { pad: [0, 3] })
    d7 = conv(d7, `${name}.branch7x7dbl_4`, c, c, [7, 1], { pad: [3, 0] })
    d7 = conv(d7, `${name}.branch7x7dbl_5`, 192, c, [1, 7], { pad: [0, 3] })
    return concat([b1, b7, d7, conv(averagePool(x), `${name}.branch_pool`, 192, 768, [1, 1])])
  }
  const blockD = (x: Value, name: string): Value => {
    let b3 = conv(x, `${name}.branch3x3_1`, 192, 768, [1, 1])
    b3 = conv(b3, `${name}.branch3x3_2`, 320, 192, [3, 3], { stride: 2 })
    let b7 = conv(x, `${name}.branch7x7x3_1`, 192, 768, [1, 1])
    b7 = conv(b7, `${name}.branch7x7x3_2`, 192, 192, [1, 7], { pad: [0, 3] })
    b7 = conv(b7, `${name}.branch7x7x3_3`, 192, 192, [7, 1], { pad: [3, 0] })
    b7 = conv(b7, `${name}.branch7x7x3_4`, 192, 192, [3, 3], { stride: 2 })
    return concat([b3, b7, maxPool(x, 2)])
  }
  const blockE = (x: Value, name: string, inner: number, pool: (x: Value) => Value): Value => {
    const b1 = conv(x, `${name}.branch1x1`, 320, inner, [1, 1])
    const fork = (from: Value, base: string): Value =>
      concat([
        conv(from, `${base}a`, 384, 384, [1, 3], { pad: [0, 1] }),
        conv(from, `${base}b`, 384, 384, [3, 1], { pad: [1, 0] }),
      ])
    const b3 = fork(conv(x, `${name}.branch3x3_1`, 384, inner, [1, 1]), `${name}.branch3x3_2`)
    let d3 = conv(x, `${name}.branch3x3dbl_1`, 448, inner, [1, 1])
    d3 = conv(d3, `${name}.branch3x3dbl_2`, 384, 448, [3, 3], { pad: [1, 1] })
    return concat([
      b1,
      b3,
      fork(d3, `${name}.branch3x3dbl_3`),
      conv(pool(x), `${name}.branch_pool`, 192, inner, [1, 1]),
    ])
  }
  /** A mean over space, [N, C, h, w] → [N, C]: rows first, because one long sum in float32 loses digits. */
  const pooled = (x: Value, dims: number): Value => {
    const rows = graph.op('ReduceMean', [x, graph.ints([3])], { keepdims: 0 })
    return graph.op('Reshape', [
      graph.op('ReduceMean', [rows, graph.ints([2])], { keepdims: 0 }),
      graph.ints([-1, dims]),
    ])
  }
  const give = (x: Value, dims: FidDims): void => {
    if (spec.dims.includes(dims))
      graph.output(pooled(x, dims), { name: `pool${dims}`, dtype: 'float32', shape: ['N', dims] })
  }

  let x = addInput(graph, spec.flavour)
  x = conv(x, 'Conv2d_1a_3x3', 32, 3, [3, 3], { stride: 2 })
  x = conv(x, 'Conv2d_2a_3x3', 32, 32, [3, 3])
  x = maxPool(conv(x, 'Conv2d_2b_3x3', 64, 32, [3, 3], { pad: [1, 1] }), 2)
  give(x, 64)
  x = conv(x, 'Conv2d_3b_1x1', 80, 64, [1, 1])
  x = maxPool(conv(x, 'Conv2d_4a_3x3', 192, 80, [3, 3]), 2)
  give(x, 192)
  x = blockA(x, 'Mixed_5b', 192, 32)
  x = blockA(x, 'Mixed_5c', 256, 64)
  x = blockA(x, 'Mixed_5d', 288, 64)
  x = blockB(x, 'Mixed_6a', 288)
  x = blockC(x, 'Mixed_6b', 128)
  x = blockC(x, 'Mixed_6c', 160)
  x = blockC(x, 'Mixed_6d', 160)
  const after6d = x
  x = blockC(x, 'Mixed_6e', 192)
  give(x, 768)
  x = blockD(x, 'Mixed_7a')
  x = blockE(x, 'Mixed_7b', 1280, averagePool)
  x = blockE(x, 'Mixed_7c', 2048, (from) => maxPool(from, 1, 1))
  give(x, 2048)
  if (spec.spatial) {
    // The first channels of the first branch, after norm and ReLU: ADM reads "mixed_6/conv:0", and the node
    // of that name is the ReLU (the bare convolution is "mixed_6/conv/Conv2D"). TensorFlow's maps are
    // [h, w, c]: ADM's value number (h · 17 + w) · 7 + c.
    const cut = [graph.ints([0]), graph.ints([SPATIAL_CHANNELS]), graph.ints([1])]
    const map = graph.op('Transpose', [graph.op('Slice', [after6d, ...cut])], { perm: [0, 2, 3, 1] })
    const size = SPATIAL_CHANNELS * 17 * 17
    graph.output(graph.op('Reshape', [map, graph.ints([-1, size])]), {
      name: 'spatial',
      dtype: 'float32',
      shape: ['N', size],
    })
  }
  if (spec.logits) {
    const fc = graph.weight('fc.weight', [1008, 2048], () => read('fc.weight'))
    const logits = graph.op('Gemm', [pooled(x, 2048), fc], { transB: 1 })
    graph.output(logits, { name: 'logits', dtype: 'float32', shape: ['N', 1008] })
  }
}

/** `pixels` uint8 [N, H, W, 3] → normalised float32 [N, 3, 299, 299]; for clean-fid `image` float32 [N, 3, 299, 299] in 0…255. */
function addInput(graph: GraphBuilder, flavour: FidFlavour): Value {
  const S = INCEPTION_SIZE
  const centred = (x: Value): Value => graph.op('Div', [graph.op('Sub', [x, graph.scalar(128)]), graph.scalar(128)])
  if (flavour === 'clean-fid') return centred(graph.input({ name: 'image', dtype: 'float32', shape: ['N', 3, S, S] }))
  const pixels = graph.input({ name: 'pixels', dtype: 'uint8', shape: ['N', 'H', 'W', 3] })
  const planes = graph.op('Transpose', [graph.op('Cast', [pixels], { to: 1 })], { perm: [0, 3, 1, 2] })
  const resize = (x: Value, coordinates: string): Value =>
    graph.op('Resize', [x, undefined, undefined, graph.ints([S, S])], {
      mode: 'linear',
      coordinate_transformation_mode: coordinates,
      axes: [2, 3],
    })
  if (flavour === 'adm') return centred(resize(planes, 'asymmetric'))
  const resized = resize(graph.op('Div', [planes, graph.scalar(255)]), 'half_pixel')
  return graph.op('Sub', [graph.op('Mul', [resized, graph.scalar(2)]), graph.scalar(1)])
}
