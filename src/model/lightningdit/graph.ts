/**
 * LightningDiT as one graph that does one evaluation of the model and one step of the sampler: time and
 * label embedding, the transformer, classifier-free guidance and the Euler update.
 *
 * N samples share R rows of the transformer's batch: `rows[r]` says which sample row r belongs to, so that
 * the conditional and the unconditional half run in one batch, and a sample that needs no guidance at its
 * time takes one row instead of two. Every value of a sample depends on that sample alone: matrices with as
 * many rows as the batch get one more row of zeros, because a product with one row is summed in another order.
 *
 * Reference: LightningDiT models/lightningdit.py (forward, forward_with_cfg), models/pos_embed.py,
 * models/swiglu_ffn.py, models/rmsnorm.py.
 */

import type { GraphBuilder, Value } from '../../graph/builder.js'
import { addCast, addProduct, type Linear, prepareRows } from '../../graph/linear.js'
import { activationDtype, type Precision } from '../../graph/precision.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { type DitConfig, ditTokens } from './config.js'
import { type BlockWeights, type DitWeights, registerWeights } from './graph-weights.js'
import { timeFrequencies } from './tables.js'

const MS = 'com.microsoft'
const NORM_EPSILON = 1e-6
/** torch.nn.LayerNorm's default, which q_norm and k_norm have where they are no RMSNorm. */
const QK_LAYER_NORM_EPSILON = 1e-5

export interface DitSpec {
  /** Channels that guidance changes; the others stay conditional. The reference: 3. */
  guidedChannels: number
  /** Arithmetic inside the blocks; the state, time and labels are float32. */
  precision: Precision
}

/** What the parts of the graph share while it is built. */
interface Build {
  graph: GraphBuilder
  config: DitConfig
  precision: Precision
}

interface Half {
  shift?: Value
  scale: Value
  gate: Value
}

/**
 * Builds the graph. Inputs: `x` float32 [N,C,H,W] state; `t` [N] time; `dt` [N] step; `labels` int64 [R];
 * `rows` int64 [R] sample of each row; `cond`, `uncond`, `pair` int64 [N] rows; `scale` [N] guidance.
 * Outputs: `next` = x + dt · velocity; `velocity` of the conditional half; `velocity_null`, what the
 * reference's second half of the batch gets (guided channels, the others of row `pair`); all [N,C,H,W].
 */
export async function buildDit(graph: GraphBuilder, config: DitConfig, read: ReadTensor, spec: DitSpec): Promise<void> {
  const { hiddenSize: dim, inChannels: channels, patchSize: p } = config
  const side = config.inputSize / p
  const tokens = ditTokens(config)
  const { precision } = spec
  const activation = activationDtype(precision)
  const build: Build = { graph, config, precision }
  const weights = registerWeights(graph, config, precision, read)
  /** A product in float32. */
  const exact = (rows: Value, weight: Linear): Value => addProduct(graph, { values: rows }, weight)

  const x = graph.input({ name: 'x', dtype: 'float32', shape: ['N', channels, config.inputSize, config.inputSize] })
  const [t, dt, scale] = (['t', 'dt', 'scale'] as const).map((name) =>
    graph.input({ name, dtype: 'float32', shape: ['N'] }),
  ) as [Value, Value, Value]
  const [labels, rows] = (['labels', 'rows'] as const).map((name) =>
    graph.input({ name, dtype: 'int64', shape: ['R'] }),
  ) as [Value, Value]
  const [cond, uncond, pair] = (['cond', 'uncond', 'pair'] as const).map((name) =>
    graph.input({ name, dtype: 'int64', shape: ['N'] }),
  ) as [Value, Value, Value]

  // Patches: [R, C, H, W] → [R·L, C·p·p], in the order of the convolution's weights.
  const gathered = graph.op('Gather', [x, rows], { axis: 0 })
  const cells = graph.op('Reshape', [gathered, graph.ints([-1, channels, side, p, side, p])])
  const ordered = graph.op('Transpose', [cells], { perm: [0, 2, 4, 1, 3, 5] }) // [R, h, w, C, p, p]
  const flat = graph.op('Reshape', [ordered, graph.ints([-1, channels * p * p])])
  const embedded = graph.op('Reshape', [exact(flat, weights.patch), graph.ints([-1, tokens, dim])])
  const placed = graph.op('Add', [embedded, weights.position]) // [R, L, D]
  const start = addCast(graph, placed, 'float32', activation)

  // Condition: silu(time + label), [R + 1, D] with a last row that nobody reads.
  const times = graph.op('Reshape', [graph.op('Gather', [t, rows], { axis: 0 }), graph.ints([-1, 1])])
  const angles = graph.op('Mul', [times, graph.constant(timeFrequencies(), [1, 128])])
  const waves = graph.op('Concat', [graph.op('Cos', [angles]), graph.op('Sin', [angles])], { axis: 1 })
  const padded = graph.op('Concat', [waves, graph.constant(new Float32Array(256), [1, 256])], { axis: 0 })
  const hidden = silu(graph, exact(padded, weights.time[0]))
  const timed = exact(hidden, weights.time[1])
  const named = graph.op('Gather', [weights.labels, graph.op('Concat', [labels, graph.ints([0])], { axis: 0 })], {
    axis: 0,
  })
  const condition = silu(graph, graph.op('Add', [timed, named]))
  const modulations = (ada: Linear, count: number): Value[] => {
    const all = addCast(graph, exact(condition, ada), 'float32', activation) // [R + 1, count·D]
    const real = graph.op('Slice', [all, graph.ints([0]), graph.ints([-1]), graph.ints([0])])
    const each = graph.op('Reshape', [real, graph.ints([-1, 1, count, dim])])
    const parts = graph.ops('Split', [each], count, { axis: 2, num_outputs: count })
    return parts.map((part) => graph.op('Reshape', [part, graph.ints([-1, 1, dim])])) // [R, 1, D]
  }

  let sum = start
  let normed = addNorm(build, start, weights.blocks[0]!.norm1)
  weights.blocks.forEach((block, i) => {
    const [attention, feed] = halves(config, modulations(block.ada, config.woShift ? 4 : 6))
    const attended = addAttention(build, block, modulate(graph, normed, attention), weights.rope)
    const middle = addSkipNorm(build, graph.op('Mul', [attended, attention.gate]), sum, block.norm2)
    const fed = addFeedForward(build, block, modulate(graph, middle.normed, feed))
    const next = weights.blocks[i + 1]?.norm1 ?? weights.finalNorm
    const end = addSkipNorm(build, graph.op('Mul', [fed, feed.gate]), middle.sum, next)
    sum = end.sum
    normed = end.normed
  })

  const [shift, finalScale] = modulations(weights.finalAda, 2)
  const done = modulate(graph, normed, { shift, scale: finalScale! })
  const rowsOut = addCast(graph, graph.op('Reshape', [done, graph.ints([-1, dim])]), activation, 'float32')
  const projected = exact(rowsOut, weights.last)
  const split = graph.op('Reshape', [projected, graph.ints([-1, side, side, p, p, channels])])
  const planes = graph.op('Transpose', [split], { perm: [0, 5, 1, 3, 2, 4] }) // [R, C, h, p, w, p]
  const out = graph.op('Reshape', [planes, graph.ints([-1, channels, config.inputSize, config.inputSize])])

  // Guidance on the first channels: uncond + scale · (cond − uncond).
  const guided = Math.min(spec.guidedChannels, channels)
  const part = (value: Value, from: number, to: number): Value =>
    graph.op('Slice', [value, graph.ints([from]), graph.ints([to]), graph.ints([1])])
  const perSample = graph.ints([-1, 1, 1, 1])
  const conditional = graph.op('Gather', [out, cond], { axis: 0 })
  const guide = (): Value => {
    const other = part(graph.op('Gather', [out, uncond], { axis: 0 }), 0, guided)
    const difference = graph.op('Sub', [part(conditional, 0, guided), other])
    return graph.op('Add', [other, graph.op('Mul', [graph.op('Reshape', [scale, perSample]), difference])])
  }
  const front = guided > 0 ? guide() : undefined
  const whole = (rest: Value): Value => {
    if (!front) return rest
    return guided === channels ? front : graph.op('Concat', [front, part(rest, guided, channels)], { axis: 1 })
  }
  const velocity = whole(conditional)
  const velocityNull = whole(graph.op('Gather', [out, pair], { axis: 0 }))
  const moved = graph.op('Mul', [graph.op('Reshape', [dt, perSample]), velocity])
  const shape = ['N', channels, config.inputSize, config.inputSize]
  graph.output(graph.op('Add', [x, moved]), { name: 'next', dtype: 'float32', shape })
  graph.output(velocity, { name: 'velocity', dtype: 'float32', shape })
  graph.output(velocityNull, { name: 'velocity_null', dtype: 'float32', shape })
}

/** QuickGelu with alpha 1 is x · sigmoid(x). */
function silu(graph: GraphBuilder, x: Value): Value {
  return graph.op('QuickGelu', [x], { alpha: { float: 1 } }, MS)
}

/** The two halves of a block from its adaLN chunks, in the reference's order. */
function halves(config: DitConfig, chunks: Value[]): [Half, Half] {
  if (config.woShift) {
    const [scaleA, gateA, scaleB, gateB] = chunks as [Value, Value, Value, Value]
    return [
      { scale: scaleA, gate: gateA },
      { scale: scaleB, gate: gateB },
    ]
  }
  const [shiftA, scaleA, gateA, shiftB, scaleB, gateB] = chunks as [Value, Value, Value, Value, Value, Value]
  return [
    { shift: shiftA, scale: scaleA, gate: gateA },
    { shift: shiftB, scale: scaleB, gate: gateB },
  ]
}

/** normed · (1 + scale) + shift; `scale` holds the 1 already. */
function modulate(graph: GraphBuilder, normed: Value, { shift, scale }: Omit<Half, 'gate'>): Value {
  const scaled = graph.op('Mul', [normed, scale])
  return shift ? graph.op('Add', [scaled, shift]) : scaled
}

function addNorm({ graph, config }: Build, x: Value, weights: Value[]): Value {
  const type = config.rmsNorm ? 'SimplifiedLayerNormalization' : 'LayerNormalization'
  return graph.op(type, [x, ...weights], { axis: -1, epsilon: { float: NORM_EPSILON } })
}

function addSkipNorm(
  { graph, config }: Build,
  branch: Value,
  residual: Value,
  weights: Value[],
): { sum: Value; normed: Value } {
  const type = config.rmsNorm ? 'SkipSimplifiedLayerNormalization' : 'SkipLayerNormalization'
  const epsilon = { float: NORM_EPSILON }
  const wanted = [true, false, false, true]
  const outputs = graph.ops(type, [branch, residual, ...weights], 4, { epsilon }, MS, wanted)
  return { normed: outputs[0]!, sum: outputs[3]! }
}

/** Self-attention of [R, L, D]. q, k and v are products of their own: see vit.ts. */
function addAttention(
  { graph, config, precision }: Build,
  block: BlockWeights,
  x: Value,
  rope: DitWeights['rope'],
): Value {
  const { hiddenSize: dim, numHeads: heads } = config
  const headDim = dim / heads
  const tokens = ditTokens(config)
  const flat = graph.ints([-1, tokens, dim])
  const rows = prepareRows(graph, precision, graph.op('Reshape', [x, graph.ints([-1, dim])]))
  const [q, k, v] = block.qkv.map((weights, i) => {
    let value = addProduct(graph, rows, weights)
    const norm = i < 2 ? block.qkNorm[i] : undefined
    if (norm) {
      value = graph.op('Reshape', [value, graph.ints([-1, tokens, heads, headDim])])
      value = config.rmsNorm
        ? graph.op('SimplifiedLayerNormalization', [value, ...norm], { axis: -1, epsilon: { float: NORM_EPSILON } })
        : graph.op('LayerNormalization', [value, ...norm], { axis: -1, epsilon: { float: QK_LAYER_NORM_EPSILON } })
    }
    value = graph.op('Reshape', [value, flat])
    if (i < 2 && rope) {
      const position = graph.constant([0], [1], 'int64')
      value = graph.op('RotaryEmbedding', [value, position, rope.cos, rope.sin], { num_heads: heads }, MS)
    }
    return value
  }) as [Value, Value, Value]
  const attributes = { num_heads: heads, scale: { float: 1 / Math.sqrt(headDim) } }
  const attended = graph.op('MultiHeadAttention', [q, k, v], attributes, MS)
  const back = prepareRows(graph, precision, graph.op('Reshape', [attended, graph.ints([-1, dim])]))
  return graph.op('Reshape', [addProduct(graph, back, block.proj), flat])
}

function addFeedForward({ graph, config, precision }: Build, block: BlockWeights, x: Value): Value {
  const { hiddenSize: dim } = config
  const rows = prepareRows(graph, precision, graph.op('Reshape', [x, graph.ints([-1, dim])]))
  const [first, second] = block.up.map((weights) => addProduct(graph, rows, weights))
  const hidden = second
    ? graph.op('Mul', [silu(graph, first!), second])
    : graph.op('Gelu', [first!], { approximate: 'tanh' })
  const fed = addProduct(graph, prepareRows(graph, precision, hidden), block.down)
  return graph.op('Reshape', [fed, graph.ints([-1, ditTokens(config), dim])])
}
