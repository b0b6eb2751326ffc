/**
 * The image tower that CLIP, SigLIP, DINOv2 and MAE share: patches, tokens in front, positions, pre-norm blocks, a
 * final norm. Families say where its tensors are, and make their outputs of its tokens.
 */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { activationWeight } from '../../graph/linear.js'
import { activationDtype } from '../../graph/precision.js'
import type { EncoderSpec, ImageSize } from '../image-model.js'
import { addPatchRows, gridOf, patchMatrix } from './patches.js'
import { prependTokens } from './pooling.js'
import type { Grid } from './positions.js'
import {
  addLayerNorm,
  type BlockTensors,
  type NormTensors,
  registerNorm,
  registerTransformer,
  type Transformer,
  type TransformerShape,
} from './transformer.js'

export interface ImageTower {
  shape: TransformerShape
  patch: number
  mean: readonly number[]
  std: readonly number[]
  /** The size that the tower brings images to by itself, whatever they come in. */
  resized?: ImageSize
  /** The convolution's weight, [D, 3, P, P], and bias. */
  patchWeight: () => Promise<Float32Array>
  patchBias?: () => Promise<Float32Array>
  /** Tokens in front of the patches, with their positions: [lead, D]. */
  lead?: { count: number; tokens: () => Promise<Float32Array> }
  /** Positions of the patches, [h·w, D]. */
  positions?: (grid: Grid) => Promise<Float32Array>
  /** Norm before the blocks. */
  preNorm?: NormTensors
  blocks: readonly BlockTensors[]
  /** Norm of the tokens after the blocks; `plain` has neither weight nor bias; none: what follows has its own. */
  finalNorm?: NormTensors | 'plain'
}

/** Tokens of a pass. */
export interface TowerTokens {
  /** After the final norm where there is one, [N, lead + h·w, D]. */
  normed: Value
  /** Before it. */
  raw: Value
  /** Of blocks that were asked for, after the final norm unless the spec says otherwise. */
  taps: ReadonlyMap<number, Value>
  lead: number
  /** Patches. */
  count: number
  grid: Grid
}

/**
 * Adds the tower. `after` registers the weights of what follows it, before any node is made: weights are registered
 * in a fixed order, whatever the outputs.
 */
export async function addImageTower<T>(
  graph: GraphBuilder,
  tower: ImageTower,
  spec: EncoderSpec,
  after: (transformer: Transformer) => T,
): Promise<TowerTokens & Transformer & { registered: T; finalNorm?: Value[] }> {
  const { shape, patch } = tower
  const { dim } = shape
  const { precision } = spec
  const transformer: Transformer = { graph, precision, shape, prefix: 'image' }
  const grid = gridOf({ ...(tower.resized ?? spec), patch })
  const count = grid.h * grid.w
  const lead = tower.lead?.count ?? 0
  const own = (name: string, dims: number[], make: () => Promise<Float32Array>): Value =>
    activationWeight(graph, precision, name, dims, make)

  const patchWeight = own('image.patch.weight', [patch * patch * 3, dim], async () =>
    patchMatrix(await tower.patchWeight(), dim, patch),
  )
  const patchBias = tower.patchBias && own('image.patch.bias', [dim], tower.patchBias)
  const leadTokens = tower.lead && own('image.lead', [1, lead, dim], tower.lead.tokens)
  const preNorm = tower.preNorm && registerNorm(transformer, 'image.pre_norm', tower.preNorm)
  const blocks = registerTransformer(transformer, tower.blocks)
  const { finalNorm: norm } = tower
  const finalNorm = norm === 'plain' ? plainNorm(transformer) : norm && registerNorm(transformer, 'image.norm', norm)
  const registered = after(transformer)
  // A constant of the graph, not a weight: it depends on the size of the images, and graphs of all sizes share weights.
  const positions =
    tower.positions && graph.constant(await tower.positions(grid), [count, dim], activationDtype(precision))

  const rows = addPatchRows(graph, precision, { ...spec, patch }, tower)
  const embedded = patchBias
    ? graph.op('Gemm', [rows, patchWeight, patchBias])
    : graph.op('MatMul', [rows, patchWeight])
  let tokens = graph.op('Reshape', [embedded, graph.ints([-1, count, dim])])
  if (positions) tokens = graph.op('Add', [tokens, positions])
  if (leadTokens) tokens = prependTokens(graph, leadTokens, tokens, [lead, dim])
  let flat = graph.op('Reshape', [tokens, graph.ints([-1, dim])])
  if (preNorm) flat = addLayerNorm(transformer, flat, preNorm)
  const wanted = spec.outputs.includes('layers') ? [...(spec.layers ?? [])] : []
  const onlyLayers = spec.outputs.every((output) => output === 'layers')
  const depth = onlyLayers && wanted.length > 0 ? Math.max(...wanted) + 1 : tower.blocks.length
  const run = blocks.add(flat, {
    length: lead + count,
    finalNorm,
    taps: wanted,
    depth,
    rawTaps: spec.layersNorm === false,
  })
  const byRow = (x: Value): Value => graph.op('Reshape', [x, graph.ints([-1, lead + count, dim])])
  return {
    ...transformer,
    finalNorm,
    normed: byRow(run.normed ?? run.sum),
    raw: byRow(run.sum),
    taps: new Map([...run.taps].map(([k, value]) => [k, byRow(value)])),
    lead,
    count,
    grid,
    registered,
  }
}

/** Weight 1 and bias 0. */
function plainNorm({ graph, precision, shape }: Transformer): Value[] {
  const dtype = activationDtype(precision)
  const fill = (value: number): Value => graph.constant(new Float32Array(shape.dim).fill(value), [shape.dim], dtype)
  return [fill(1), fill(0)]
}
