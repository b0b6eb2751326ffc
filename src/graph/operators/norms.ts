/** Norms, alone and fused with the addition before them. */
import type { Dim, Shape } from '../dims.js'
import {
  axisOf,
  expectSame,
  type Infer,
  inputOf,
  intOf,
  MICROSOFT,
  type NodeView,
  type OperatorTable,
  sameDtype,
} from './node-view.js'

/** The shape of mean and deviation: one for each row. */
function statistics(node: NodeView, axis: number): Shape {
  const { shape } = inputOf(node, 0)
  const from = axisOf(node, axis, shape.length)
  return shape.map<Dim>((size, i) => (i < from ? size : 1))
}

/** y, mean, inverse deviation. */
const layerNorm: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  expectSame(node, 'the weight', inputOf(node, 1).shape.at(-1), shape.at(-1))
  const rows = statistics(node, intOf(node, 'axis', -1))
  const one = { dtype: 'float32', shape: rows } as const
  return [{ dtype: sameDtype(node, [0, 1, 2]) && dtype, shape }, one, one].slice(0, node.count)
}

/** y, inverse root mean square. */
const rmsNorm: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  expectSame(node, 'the weight', inputOf(node, 1).shape.at(-1), shape.at(-1))
  const rows = statistics(node, intOf(node, 'axis', -1))
  const types = [
    { dtype, shape },
    { dtype: 'float32', shape: rows },
  ] as const
  return types.slice(0, node.count)
}

/** y, mean, inverse deviation, sum of the inputs. */
const skipNorm: Infer = (node) => {
  const { shape } = inputOf(node, 0)
  const dtype = sameDtype(
    node,
    node.inputs.map((_, i) => i),
  )
  expectSame(node, 'the weight', inputOf(node, 2).shape.at(-1), shape.at(-1))
  expectSame(node, 'the last axis of both inputs', inputOf(node, 1).shape.at(-1), shape.at(-1))
  const one = { dtype: 'float32', shape: statistics(node, -1) } as const
  return [{ dtype, shape }, one, one, { dtype, shape }].slice(0, node.count)
}

const same: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  return [{ dtype, shape }]
}

/** y, and in training mode the running mean and variance. */
const batchNorm: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  expectSame(node, 'the weight', inputOf(node, 1).shape[0], shape[1])
  const channels = { dtype, shape: [shape[1]!] }
  return [{ dtype, shape }, channels, channels].slice(0, node.count)
}

export const NORMS: OperatorTable = {
  ':LayerNormalization': { infer: layerNorm },
  ':SimplifiedLayerNormalization': { infer: rmsNorm },
  ':GroupNormalization': { infer: same },
  ':InstanceNormalization': { infer: same },
  ':BatchNormalization': { infer: batchNorm },
  [`${MICROSOFT}:SkipLayerNormalization`]: { infer: skipNorm },
  [`${MICROSOFT}:SkipSimplifiedLayerNormalization`]: { infer: skipNorm },
}
