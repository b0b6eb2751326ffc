/**
 * The projection head of self-distillation: a GELU MLP, its result on the unit sphere, and prototypes whose rows are
 * g v / ‖v‖ (weight norm). Reference: DINOv2's DINOHead, which VTP uses. The layers are those that a state dict names:
 * `mlp.0`, `mlp.2`, … or a single `mlp`; `last_layer.weight_g` and `weight_v`, or a plain `last_layer.weight`.
 */
import type { GraphBuilder, Value } from '../graph/builder.js'
import type { Parameter } from '../model/vtp/training.js'
import { addUnitRows } from './losses.js'

/** torch.nn.functional.normalize in float32. */
const LEAST_NORM = 1e-12

export interface HeadOutputs {
  /** [R, K] */
  logits: Value
  /** Before the prototypes, unit length. */
  bottleneck: Value
}

/** `parameter` and `names` are without the head's prefix; x is [R, D]. */
export function addHead(graph: GraphBuilder, parameter: Parameter, names: readonly string[], x: Value): HeadOutputs {
  const layers = [
    ...new Set(names.filter((name) => name.startsWith('mlp')).map((name) => name.replace(/\.(weight|bias)$/, ''))),
  ].sort((a, b) => Number(a.slice(4)) - Number(b.slice(4)))
  let value = x
  layers.forEach((layer, i) => {
    if (i > 0) value = graph.op('Gelu', [value], {}, 'com.microsoft')
    const bias = names.includes(`${layer}.bias`) ? parameter(`${layer}.bias`) : undefined
    value = graph.op('Gemm', [value, parameter(`${layer}.weight`), bias], { transB: 1 })
  })
  const bottleneck = addUnitRows(graph, value, LEAST_NORM)
  return { bottleneck, logits: graph.op('Gemm', [bottleneck, prototypes(graph, parameter, names)], { transB: 1 }) }
}

function prototypes(graph: GraphBuilder, parameter: Parameter, names: readonly string[]): Value {
  if (names.includes('last_layer.weight')) return parameter('last_layer.weight')
  const v = parameter('last_layer.weight_v')
  const norm = graph.op('ReduceL2', [v, graph.ints([1])], { keepdims: 1 })
  return graph.op('Mul', [v, graph.op('Div', [parameter('last_layer.weight_g'), norm])])
}
