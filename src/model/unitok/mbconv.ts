/**
 * The convolutions around UniTok's transformer blocks: ViTamin's stem, stages of MbConv blocks and pool in front, their
 * mirror image behind. Norms are over channels (LayerNorm2d, eps 1e-6), GELU is exact.
 * Reference: timm 1.0, timm/models/vitamin.py (MbConvLNBlock, Downsample2d); FoundationVision/UniTok, models/vitamin.py.
 */
import type { Value } from '../../graph/builder.js'
import { activationWeight } from '../../graph/linear.js'
import { transpose } from '../../graph/transpose.js'
import {
  addConvolution,
  addNearestUpsample,
  type ConvContext,
  planesToRows,
  registerConvolution,
  rowsToPlanes,
} from '../blocks/convolution.js'
import { addActivation } from '../blocks/transformer.js'

type Layer = (x: Value) => Value

/** A norm over the channels of [N, C, H, W], which gives rows [N·H·W, C]. */
function channelNorm(context: ConvContext, name: string): Layer {
  const { graph, precision, read, shapeOf } = context
  const shape = [...shapeOf(`${name}.weight`)]
  const parts = ['weight', 'bias'].map((part) =>
    activationWeight(graph, precision, `${name}.${part}`, shape, () => read(`${name}.${part}`)),
  )
  return (x) =>
    graph.op('LayerNormalization', [planesToRows(graph, x), ...parts], { axis: -1, epsilon: { float: 1e-6 } })
}

/** A 1×1 convolution as a product of rows. */
function pointwise(context: ConvContext, name: string): Layer {
  const { graph, precision, read, shapeOf } = context
  const [outer = 0, inner = 0] = shapeOf(`${name}.weight`)
  const weight = activationWeight(graph, precision, `${name}.weight`, [inner, outer], async () =>
    transpose(await read(`${name}.weight`), outer, inner),
  )
  const bias = activationWeight(graph, precision, `${name}.bias`, [outer], () => read(`${name}.bias`))
  return (rows) => graph.op('Gemm', [rows, weight, bias])
}

const sizeOf = (x: Value): [number, number] => x.shape.slice(2) as [number, number]

/** x → norm, 1×1, GELU, depthwise 3×3 (or what stands before it), GELU, 1×1; and the way around. */
function mbConv(
  context: ConvContext,
  base: string,
  kind: 'plain' | 'down' | 'up',
  has: (name: string) => boolean,
): Layer {
  const { graph, shapeOf } = context
  const around = wayAround(context, base, kind, has)
  const norm = channelNorm(context, `${base}.pre_norm`)
  const widen = pointwise(context, `${base}.conv1_1x1`)
  const enlarge = kind === 'up' ? registerConvolution(context, `${base}.up.conv`) : undefined
  const depthwise = registerConvolution(context, `${base}.conv2_kxk`)
  const narrow = pointwise(context, `${base}.conv3_1x1`)
  const group = shapeOf(`${base}.conv2_kxk.weight`)[0]!
  const gelu: Layer = (x) => addActivation(graph, 'gelu', x)
  return (x) => {
    const wide = rowsToPlanes(graph, gelu(widen(norm(x))), ...sizeOf(x))
    const ready = enlarge ? addConvolution(graph, addNearestUpsample(graph, wide), enlarge) : wide
    const mixed = gelu(addConvolution(graph, ready, depthwise, { stride: kind === 'down' ? 2 : 1, group }))
    return graph.op('Add', [rowsToPlanes(graph, narrow(planesToRows(graph, mixed)), ...sizeOf(mixed)), around(x)])
  }
}

function wayAround(
  context: ConvContext,
  base: string,
  kind: 'plain' | 'down' | 'up',
  has: (name: string) => boolean,
): Layer {
  const { graph } = context
  if (kind === 'up') {
    const conv = registerConvolution(context, `${base}.shortcut.conv`)
    return (x) => addConvolution(graph, addNearestUpsample(graph, x), conv)
  }
  if (kind === 'plain') {
    const conv = has(`${base}.shortcut.weight`) ? registerConvolution(context, `${base}.shortcut`) : undefined
    return (x) => (conv ? addConvolution(graph, x, conv) : x)
  }
  const expand = has(`${base}.shortcut.expand.weight`)
    ? registerConvolution(context, `${base}.shortcut.expand`)
    : undefined
  return (x) => {
    const pooled = graph.op('AveragePool', [x], {
      kernel_shape: [3, 3],
      strides: [2, 2],
      pads: [1, 1, 1, 1],
      count_include_pad: 0,
    })
    return expand ? addConvolution(graph, pooled, expand) : pooled
  }
}

function blocksOf(names: ReadonlySet<string>, prefix: string): number {
  let count = 0
  while (names.has(`${prefix}.${count}.pre_norm.weight`)) count++
  return count
}

/** Registers what is before the encoder's blocks; the function takes [N, 3, H, W] to tokens [N·h·w, D] and their grid. */
export function registerStem(
  context: ConvContext,
  names: ReadonlySet<string>,
): (image: Value) => { rows: Value; h: number; w: number } {
  const { graph } = context
  const base = 'encoder.patch_embed.backbone'
  const has = (name: string): boolean => names.has(name)
  const conv1 = registerConvolution(context, `${base}.stem.conv1`)
  const norm1 = channelNorm(context, `${base}.stem.norm1`)
  const conv2 = registerConvolution(context, `${base}.stem.conv2`)
  const stages: Layer[] = []
  for (let s = 0; blocksOf(names, `${base}.stages.${s}`) > 0; s++) {
    for (let i = 0; i < blocksOf(names, `${base}.stages.${s}`); i++)
      stages.push(mbConv(context, `${base}.stages.${s}.${i}`, i === 0 ? 'down' : 'plain', has))
  }
  const poolNorm = channelNorm(context, `${base}.pool.norm`)
  const pool = registerConvolution(context, `${base}.pool.proj`)
  return (image) => {
    const first = addConvolution(graph, image, conv1, { stride: 2 })
    const gelu = addActivation(graph, 'gelu', norm1(first))
    let x = addConvolution(graph, rowsToPlanes(graph, gelu, ...sizeOf(first)), conv2)
    for (const stage of stages) x = stage(x)
    const pooled = addConvolution(graph, rowsToPlanes(graph, poolNorm(x), ...sizeOf(x)), pool, { stride: 2 })
    const [h, w] = sizeOf(pooled)
    return { rows: planesToRows(graph, pooled), h, w }
  }
}

/** Registers what is behind the decoder's blocks; the function takes planes [N, D, h, w] to an image [N, 3, 16h, 16w]. */
export function registerEnlarger(context: ConvContext, names: ReadonlySet<string>): Layer {
  const { graph } = context
  const has = (name: string): boolean => names.has(name)
  const first = registerConvolution(context, 'decoder.up_conv1.conv')
  const stages: Layer[] = []
  for (const name of ['decoder.up_conv2', 'decoder.up_conv3'])
    for (let i = 0; i < blocksOf(names, name); i++)
      stages.push(mbConv(context, `${name}.${i}`, i === 0 ? 'up' : 'plain', has))
  const conv1 = registerConvolution(context, 'decoder.up_conv4.conv1.conv')
  const norm1 = channelNorm(context, 'decoder.up_conv4.norm1')
  const conv2 = registerConvolution(context, 'decoder.up_conv4.conv2')
  return (planes) => {
    let x = addConvolution(graph, addNearestUpsample(graph, planes), first)
    for (const stage of stages) x = stage(x)
    const large = addConvolution(graph, addNearestUpsample(graph, x), conv1)
    const gelu = addActivation(graph, 'gelu', norm1(large))
    return addConvolution(graph, rowsToPlanes(graph, gelu, ...sizeOf(large)), conv2)
  }
}
