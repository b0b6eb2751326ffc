/**
 * LightningDiT's forward pass for training, in the layout of the reference's state dict: parameters keep their names
 * and shapes, so that what is trained is what a checkpoint holds. (graph.ts is the same model for sampling: weights
 * transposed and folded, guidance inside.) Reference: LightningDiT models/lightningdit.py.
 *
 * Traps: RoPE turns neighbours here, and q and k come from one packed product; rows of a learned sigma are dropped
 * before the loss, so that their gradients are zero.
 */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { type DitConfig, ditFfnWidth, ditTokens } from './config.js'
import { ditRope, timeFrequencies } from './tables.js'

const MS = 'com.microsoft'
const NORM_EPSILON = { float: 1e-6 }
/** torch.nn.LayerNorm's default, which q_norm and k_norm have where they are not RMSNorm. */
const QK_LAYER_NORM_EPSILON = { float: 1e-5 }

export interface DitBatch {
  /** Noised latents, float32 [B, C, H, W]. */
  x: Value
  /** float32 [B]; 1 is data. */
  t: Value
  /** int64 [B]; the last row of the table stands for "no class". */
  labels: Value
}

export interface DitForward {
  /** [B, C, H, W] */
  prediction: Value
  /** What every block modulates by before its SiLU: time + label, [B, D]. */
  conditioning: Value
  /** Tokens before the first block, [B·L, D]. */
  tokens: Value
}

export interface DitForwardOptions {
  /** Each block is a segment: its values are computed again for the gradients, and not kept. */
  segments?: boolean
}

/** Adds the model; `parameter` gives the value of a tensor of the state dict. */
export function addDitForward(
  graph: GraphBuilder,
  config: DitConfig,
  parameter: (name: string) => Value,
  { x, t, labels }: DitBatch,
  options: DitForwardOptions = {},
): DitForward {
  const { hiddenSize: dim, inChannels: channels, patchSize: p, numHeads: heads } = config
  const side = config.inputSize / p
  const tokens = ditTokens(config)
  const headDim = dim / heads
  const ffn = ditFfnWidth(config)
  const reshape = (value: Value, ...shape: number[]): Value => graph.op('Reshape', [value, graph.ints(shape)])
  const flat = (value: Value): Value => reshape(value, -1, dim)
  const cube = (value: Value): Value => reshape(value, -1, tokens, dim)
  const silu = (value: Value): Value => graph.op('QuickGelu', [value], { alpha: { float: 1 } }, MS)
  const linear = (value: Value, name: string, matrix = parameter(`${name}.weight`)): Value =>
    graph.op('Gemm', [value, matrix, parameter(`${name}.bias`)], { transB: 1 })
  const one = graph.scalar(1)

  /** A norm over the last axis; LayerNorm has no weights here. */
  const norm = (value: Value, name: string): Value => {
    if (config.rmsNorm) {
      const weight = parameter(`${name}.weight`)
      return graph.op('SimplifiedLayerNormalization', [value, weight], { axis: -1, epsilon: NORM_EPSILON })
    }
    const ones = graph.constant(new Float32Array(dim).fill(1), [dim])
    return graph.op('LayerNormalization', [value, ones], { axis: -1, epsilon: NORM_EPSILON })
  }
  const headNorm = (value: Value, name: string): Value => {
    if (!config.qkNorm) return value
    const byHead = reshape(value, -1, tokens, heads, headDim)
    const weight = parameter(`${name}.weight`)
    const normed = config.rmsNorm
      ? graph.op('SimplifiedLayerNormalization', [byHead, weight], { axis: -1, epsilon: NORM_EPSILON })
      : graph.op('LayerNormalization', [byHead, weight, parameter(`${name}.bias`)], {
          axis: -1,
          epsilon: QK_LAYER_NORM_EPSILON,
        })
    return cube(normed)
  }
  const rope = config.rope ? ditRope(side, headDim) : undefined
  const tables = rope && [
    graph.constant(rope.cos, [tokens, headDim / 2]),
    graph.constant(rope.sin, [tokens, headDim / 2]),
  ]
  const turn = (value: Value): Value => {
    if (!tables) return value
    const attributes = { num_heads: heads, interleaved: 1 }
    return graph.op('RotaryEmbedding', [value, graph.constant([0], [1], 'int64'), ...tables], attributes, MS)
  }
  /** adaLN: `count` chunks [B, 1, D]. */
  const modulations = (condition: Value, name: string, count: number): Value[] => {
    const parts = graph.ops('Split', [linear(condition, name)], count, { axis: 1, num_outputs: count })
    return parts.map((part) => reshape(part, -1, 1, dim))
  }
  const modulate = (value: Value, scale: Value, shift?: Value): Value => {
    const scaled = graph.op('Mul', [cube(value), graph.op('Add', [scale, one])])
    return flat(shift ? graph.op('Add', [scaled, shift]) : scaled)
  }
  const gated = (residual: Value, branch: Value, gate: Value): Value =>
    flat(graph.op('Add', [cube(residual), graph.op('Mul', [cube(branch), gate])]))

  const attention = (value: Value, name: string): Value => {
    const parts = graph.ops('Split', [linear(value, `${name}.qkv`)], 3, { axis: 1, num_outputs: 3 })
    const [q, k, v] = parts.map(cube) as [Value, Value, Value]
    const inputs = [turn(headNorm(q, `${name}.q_norm`)), turn(headNorm(k, `${name}.k_norm`)), v]
    const attributes = { num_heads: heads, scale: { float: 1 / Math.sqrt(headDim) } }
    return linear(flat(graph.op('MultiHeadAttention', inputs, attributes, MS)), `${name}.proj`)
  }
  const feedForward = (value: Value, name: string): Value => {
    if (!config.swiglu) {
      const hidden = graph.op('Gelu', [linear(value, `${name}.fc1`)], { approximate: 'tanh' })
      return linear(hidden, `${name}.fc2`)
    }
    const halves = graph.ops('Split', [linear(value, `${name}.w12`), graph.ints([ffn, ffn])], 2, { axis: 1 })
    return linear(graph.op('Mul', [silu(halves[0]!), halves[1]!]), `${name}.w3`)
  }
  const block = (value: Value, condition: Value, name: string): Value => {
    const chunks = modulations(condition, `${name}.adaLN_modulation.1`, config.woShift ? 4 : 6)
    const [shiftA, scaleA, gateA, shiftB, scaleB, gateB] = (
      config.woShift ? [undefined, chunks[0], chunks[1], undefined, chunks[2], chunks[3]] : chunks
    ) as [Value | undefined, Value, Value, Value | undefined, Value, Value]
    const attended = attention(modulate(norm(value, `${name}.norm1`), scaleA, shiftA), `${name}.attn`)
    const middle = gated(value, attended, gateA)
    return gated(middle, feedForward(modulate(norm(middle, `${name}.norm2`), scaleB, shiftB), `${name}.mlp`), gateB)
  }

  // Patches [B·L, C·p·p], in the order of the convolution's weights.
  const cells = reshape(x, -1, channels, side, p, side, p)
  const patches = reshape(graph.op('Transpose', [cells], { perm: [0, 2, 4, 1, 3, 5] }), -1, channels * p * p)
  const kernel = reshape(parameter('x_embedder.proj.weight'), dim, channels * p * p)
  const embedded = cube(linear(patches, 'x_embedder.proj', kernel))
  const first = flat(graph.op('Add', [embedded, parameter('pos_embed')]))

  const angles = graph.op('Mul', [reshape(t, -1, 1), graph.constant(timeFrequencies(), [1, 128])])
  const waves = graph.op('Concat', [graph.op('Cos', [angles]), graph.op('Sin', [angles])], { axis: 1 })
  const timed = linear(silu(linear(waves, 't_embedder.mlp.0')), 't_embedder.mlp.2')
  const named = graph.op('Gather', [parameter('y_embedder.embedding_table.weight'), labels], { axis: 0 })
  const conditioning = graph.op('Add', [timed, named])
  const condition = silu(conditioning)

  let value = first
  for (let i = 0; i < config.depth; i++) {
    const from = value
    const build = (): Value => block(from, condition, `blocks.${i}`)
    value = options.segments ? graph.segment(build) : build()
  }
  const [shift, scale] = modulations(condition, 'final_layer.adaLN_modulation.1', 2) as [Value, Value]
  const done = modulate(norm(value, 'final_layer.norm_final'), scale, shift)
  const outChannels = channels * (config.learnSigma ? 2 : 1)
  const projected = reshape(linear(done, 'final_layer.linear'), -1, side, side, p, p, outChannels)
  const planes = graph.op('Transpose', [projected], { perm: [0, 5, 1, 3, 2, 4] }) // [B, C, h, p, w, p]
  const image = reshape(planes, -1, outChannels, config.inputSize, config.inputSize)
  const prediction = config.learnSigma
    ? graph.op('Slice', [image, graph.ints([0]), graph.ints([channels]), graph.ints([1])])
    : image
  return { prediction, conditioning, tokens: first }
}
