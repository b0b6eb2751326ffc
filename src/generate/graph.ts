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
import type { GraphBuilder } from '../model/graph/onnx.js'
import { type ReadTensor, transpose } from '../model/graph/vit.js'
import { type DitConfig, ditFfnWidth, ditTokens } from './config.js'
import { timeFrequencies } from './tables.js'

const MS = 'com.microsoft'
const NORM_EPSILON = 1e-6
/** torch.nn.LayerNorm's default, which q_norm and k_norm have where they are no RMSNorm. */
const QK_LAYER_NORM_EPSILON = 1e-5

export interface DitSpec {
  /** Channels that guidance changes; the others stay conditional. The reference: 3. */
  guidedChannels: number
}

interface Half {
  shift?: string
  scale: string
  gate: string
}

/** Names of a block's weights. */
interface Block {
  norm1: string[]
  norm2: string[]
  qkv: [string, string][]
  qkNorm: string[][]
  proj: [string, string]
  up: [string, string][]
  down: [string, string]
  ada: [string, string]
}

/**
 * Builds the graph. Inputs: `x` float32 [N,C,H,W] state; `t` [N] time; `dt` [N] step; `labels` int64 [R];
 * `rows` int64 [R] sample of each row; `cond`, `uncond`, `pair` int64 [N] rows; `scale` [N] guidance.
 * Outputs: `next` = x + dt · velocity; `velocity` of the conditional half; `velocity_null`, what the
 * reference's second half of the batch gets (guided channels, the others of row `pair`); all [N,C,H,W].
 */
export async function buildDit(graph: GraphBuilder, config: DitConfig, read: ReadTensor, spec: DitSpec): Promise<void> {
  const { hiddenSize: dim, inChannels: channels, patchSize: p, depth } = config
  const side = config.inputSize / p
  const tokens = ditTokens(config)
  const w = createWeights(graph, config, read)

  // Weights, all of them and in this order.
  const patch = [
    graph.weight('x_embedder.weight', [channels * p * p, dim], async () =>
      transpose(await read('x_embedder.proj.weight'), dim, channels * p * p),
    ),
    graph.weight('x_embedder.bias', [dim], () => read('x_embedder.proj.bias')),
  ]
  const position = graph.weight('pos_embed', [1, tokens, dim], () => read('pos_embed'))
  const time = [w.linear('t_embedder.mlp.0', 256, dim), w.linear('t_embedder.mlp.2', dim, dim)]
  const labelRows = config.numClasses + (config.nullClass ? 1 : 0)
  const table = graph.weight('y_embedder', [labelRows, dim], () => read('y_embedder.embedding_table.weight'))
  const rope = config.rope ? w.rope() : undefined
  const blocks = Array.from({ length: depth }, (_, i) => w.block(i))
  const finalNorm = w.norm('final_layer.norm_final')
  const finalAda = w.adaLn('final_layer.adaLN_modulation.1', 2, [1])
  const last = w.lastLinear()

  const x = graph.input({ name: 'x', dtype: 'float32', shape: ['N', channels, config.inputSize, config.inputSize] })
  const [t, dt, scale] = (['t', 'dt', 'scale'] as const).map((name) =>
    graph.input({ name, dtype: 'float32', shape: ['N'] }),
  ) as [string, string, string]
  const [labels, rows] = (['labels', 'rows'] as const).map((name) =>
    graph.input({ name, dtype: 'int64', shape: ['R'] }),
  ) as [string, string]
  const [cond, uncond, pair] = (['cond', 'uncond', 'pair'] as const).map((name) =>
    graph.input({ name, dtype: 'int64', shape: ['N'] }),
  ) as [string, string, string]

  // Patches: [R, C, H, W] → [R·L, C·p·p], in the order of the convolution's weights.
  const gathered = graph.op('Gather', [x, rows], { axis: 0 })
  const cells = graph.op('Reshape', [gathered, graph.ints([-1, channels, side, p, side, p])])
  const ordered = graph.op('Transpose', [cells], { perm: [0, 2, 4, 1, 3, 5] }) // [R, h, w, C, p, p]
  const flat = graph.op('Reshape', [ordered, graph.ints([-1, channels * p * p])])
  const embedded = graph.op('Reshape', [graph.op('Gemm', [flat, ...patch]), graph.ints([-1, tokens, dim])])
  const start = graph.op('Add', [embedded, position]) // [R, L, D]

  // Condition: silu(time + label), [R + 1, D] with a last row that nobody reads.
  const times = graph.op('Reshape', [graph.op('Gather', [t, rows], { axis: 0 }), graph.ints([-1, 1])])
  const angles = graph.op('Mul', [times, graph.constant(timeFrequencies(), [1, 128])])
  const waves = graph.op('Concat', [graph.op('Cos', [angles]), graph.op('Sin', [angles])], { axis: 1 })
  const padded = graph.op('Concat', [waves, graph.constant(new Float32Array(256), [1, 256])], { axis: 0 })
  const hidden = silu(graph, graph.op('Gemm', [padded, ...time[0]!]))
  const timed = graph.op('Gemm', [hidden, ...time[1]!])
  const named = graph.op('Gather', [table, graph.op('Concat', [labels, graph.ints([0])], { axis: 0 })], { axis: 0 })
  const condition = silu(graph, graph.op('Add', [timed, named]))
  const modulations = (ada: [string, string], count: number): string[] => {
    const all = graph.op('Gemm', [condition, ...ada]) // [R + 1, count·D]
    const real = graph.op('Slice', [all, graph.ints([0]), graph.ints([-1]), graph.ints([0])])
    const each = graph.op('Reshape', [real, graph.ints([-1, 1, count, dim])])
    const parts = graph.ops('Split', [each], count, { axis: 2, num_outputs: count })
    return parts.map((part) => graph.op('Reshape', [part, graph.ints([-1, 1, dim])])) // [R, 1, D]
  }

  let sum = start
  let normed = addNorm(graph, config, start, blocks[0]!.norm1)
  blocks.forEach((block, i) => {
    const [attention, feed] = halves(config, modulations(block.ada, config.woShift ? 4 : 6))
    const attended = addAttention(graph, config, block, modulate(graph, normed, attention), rope)
    const middle = addSkipNorm(graph, config, graph.op('Mul', [attended, attention.gate]), sum, block.norm2)
    const fed = addFeedForward(graph, config, block, modulate(graph, middle.normed, feed))
    const next = blocks[i + 1]?.norm1 ?? finalNorm
    const end = addSkipNorm(graph, config, graph.op('Mul', [fed, feed.gate]), middle.sum, next)
    sum = end.sum
    normed = end.normed
  })

  const [shift, finalScale] = modulations(finalAda, 2)
  const done = modulate(graph, normed, { shift, scale: finalScale!, gate: '' })
  const projected = graph.op('Gemm', [graph.op('Reshape', [done, graph.ints([-1, dim])]), ...last])
  const split = graph.op('Reshape', [projected, graph.ints([-1, side, side, p, p, channels])])
  const planes = graph.op('Transpose', [split], { perm: [0, 5, 1, 3, 2, 4] }) // [R, C, h, p, w, p]
  const out = graph.op('Reshape', [planes, graph.ints([-1, channels, config.inputSize, config.inputSize])])

  // Guidance on the first channels: uncond + scale · (cond − uncond).
  const guided = Math.min(spec.guidedChannels, channels)
  const part = (value: string, from: number, to: number): string =>
    graph.op('Slice', [value, graph.ints([from]), graph.ints([to]), graph.ints([1])])
  const perSample = graph.ints([-1, 1, 1, 1])
  const conditional = graph.op('Gather', [out, cond], { axis: 0 })
  const other = part(graph.op('Gather', [out, uncond], { axis: 0 }), 0, guided)
  const difference = graph.op('Sub', [part(conditional, 0, guided), other])
  const scaled = graph.op('Mul', [graph.op('Reshape', [scale, perSample]), difference])
  const front = graph.op('Add', [other, scaled])
  const whole = (rest: string): string =>
    guided === channels ? front : graph.op('Concat', [front, part(rest, guided, channels)], { axis: 1 })
  const velocity = whole(conditional)
  const velocityNull = whole(graph.op('Gather', [out, pair], { axis: 0 }))
  const moved = graph.op('Mul', [graph.op('Reshape', [dt, perSample]), velocity])
  const shape = ['N', channels, config.inputSize, config.inputSize]
  graph.output(graph.op('Add', [x, moved]), { name: 'next', dtype: 'float32', shape })
  graph.output(velocity, { name: 'velocity', dtype: 'float32', shape })
  graph.output(velocityNull, { name: 'velocity_null', dtype: 'float32', shape })
}

/** Registers weights as the graph uses them: matrices transposed to [in, out]. */
function createWeights(graph: GraphBuilder, config: DitConfig, read: ReadTensor) {
  const { hiddenSize: dim } = config
  const headDim = dim / config.numHeads
  const tokens = ditTokens(config)

  const matrix = (name: string, source: string, from: number, rows: number, columns: number): string =>
    graph.weight(`${name}.weight`, [columns, rows], async () => {
      const all = await read(`${source}.weight`)
      return transpose(all.subarray(from * columns, (from + rows) * columns), rows, columns)
    })
  const linear = (name: string, columns: number, rows: number): [string, string] => [
    matrix(name, name, 0, rows, columns),
    graph.weight(`${name}.bias`, [rows], () => read(`${name}.bias`)),
  ]

  /** RoPE turns pairs of neighbours; the operator wants halves. Both q and k get the same order: q·k stays. */
  const reordered = (values: Float32Array, width: number): Float32Array => {
    if (!config.rope) return values
    const out = new Float32Array(values.length)
    for (let row = 0; row < values.length / width; row++) {
      const head = Math.floor(row / headDim) * headDim
      const at = row - head
      const source = head + (at < headDim / 2 ? 2 * at : 2 * (at - headDim / 2) + 1)
      out.set(values.subarray(source * width, (source + 1) * width), row * width)
    }
    return out
  }
  const queryOrKey = (block: string, which: 'q' | 'k', at: number): [string, string] => [
    graph.weight(`${block}.attn.${which}.weight`, [dim, dim], async () => {
      const all = await read(`${block}.attn.qkv.weight`)
      return transpose(reordered(all.subarray(at * dim * dim, (at + 1) * dim * dim), dim), dim, dim)
    }),
    graph.weight(`${block}.attn.${which}.bias`, [dim], async () =>
      reordered((await read(`${block}.attn.qkv.bias`)).slice(at * dim, (at + 1) * dim), 1),
    ),
  ]
  const norm = (name: string): string[] => {
    if (config.rmsNorm) return [graph.weight(`${name}.weight`, [dim], () => read(`${name}.weight`))]
    return [graph.constant(new Float32Array(dim).fill(1), [dim])]
  }
  /** The scales' biases get the 1 of "1 + scale". */
  const adaLn = (name: string, count: number, scales: number[]): [string, string] => [
    matrix(name, name, 0, count * dim, dim),
    graph.weight(`${name}.bias`, [count * dim], async () => {
      const bias = (await read(`${name}.bias`)).slice()
      for (const at of scales) for (let i = 0; i < dim; i++) bias[at * dim + i]! += 1
      return bias
    }),
  ]

  const block = (index: number): Block => {
    const base = `blocks.${index}`
    const ffn = ditFfnWidth(config)
    const norm1 = norm(`${base}.norm1`)
    const q = queryOrKey(base, 'q', 0)
    const k = queryOrKey(base, 'k', 1)
    const v: [string, string] = [
      matrix(`${base}.attn.v`, `${base}.attn.qkv`, 2 * dim, dim, dim),
      graph.weight(`${base}.attn.v.bias`, [dim], async () => (await read(`${base}.attn.qkv.bias`)).slice(2 * dim)),
    ]
    const qkNorm = config.qkNorm
      ? ['q_norm', 'k_norm'].map((n) =>
          (config.rmsNorm ? ['weight'] : ['weight', 'bias']).map((kind) =>
            graph.weight(`${base}.attn.${n}.${kind}`, [headDim], async () =>
              reordered(await read(`${base}.attn.${n}.${kind}`), 1),
            ),
          ),
        )
      : []
    const proj = linear(`${base}.attn.proj`, dim, dim)
    const norm2 = norm(`${base}.norm2`)
    const halfOf = (name: string, at: number): [string, string] => [
      matrix(`${base}.mlp.${name}`, `${base}.mlp.w12`, at * ffn, ffn, dim),
      graph.weight(`${base}.mlp.${name}.bias`, [ffn], async () =>
        (await read(`${base}.mlp.w12.bias`)).slice(at * ffn, (at + 1) * ffn),
      ),
    ]
    const up = config.swiglu ? [halfOf('w1', 0), halfOf('w2', 1)] : [linear(`${base}.mlp.fc1`, dim, ffn)]
    const down = linear(`${base}.mlp.${config.swiglu ? 'w3' : 'fc2'}`, ffn, dim)
    const ada = adaLn(`${base}.adaLN_modulation.1`, config.woShift ? 4 : 6, config.woShift ? [0, 2] : [1, 4])
    return { norm1, norm2, qkv: [q, k, v], qkNorm, proj, up, down, ada }
  }

  return {
    linear,
    norm,
    adaLn,
    block,
    /** Of both tables the first of each pair of equal neighbours: [L, d/2]. */
    rope: (): { cos: string; sin: string } => {
      const table = (kind: 'cos' | 'sin'): string =>
        graph.weight(`feat_rope.${kind}`, [tokens, headDim / 2], async () =>
          (await read(`feat_rope.freqs_${kind}`)).filter((_, i) => i % 2 === 0),
        )
      return { cos: table('cos'), sin: table('sin') }
    },
    /** The last projection, without the rows of a learned sigma: sampling never reads them. */
    lastLinear: (): [string, string] => {
      const { patchSize: p, inChannels: channels } = config
      const outChannels = channels * (config.learnSigma ? 2 : 1)
      const wanted = Array.from({ length: p * p * channels }, (_, i) => {
        const cell = Math.floor(i / channels)
        return cell * outChannels + (i % channels)
      })
      const pick = async (name: string, width: number): Promise<Float32Array> => {
        const all = await read(name)
        const out = new Float32Array(wanted.length * width)
        wanted.forEach((row, i) => {
          out.set(all.subarray(row * width, (row + 1) * width), i * width)
        })
        return out
      }
      return [
        graph.weight('final_layer.linear.weight', [dim, wanted.length], async () =>
          transpose(await pick('final_layer.linear.weight', dim), wanted.length, dim),
        ),
        graph.weight('final_layer.linear.bias', [wanted.length], () => pick('final_layer.linear.bias', 1)),
      ]
    },
  }
}

/** QuickGelu with alpha 1 is x · sigmoid(x). */
function silu(graph: GraphBuilder, x: string): string {
  return graph.op('QuickGelu', [x], { alpha: { float: 1 } }, MS)
}

/** The two halves of a block from its adaLN chunks, in the reference's order. */
function halves(config: DitConfig, chunks: string[]): [Half, Half] {
  if (config.woShift) {
    const [scaleA, gateA, scaleB, gateB] = chunks as [string, string, string, string]
    return [
      { scale: scaleA, gate: gateA },
      { scale: scaleB, gate: gateB },
    ]
  }
  const [shiftA, scaleA, gateA, shiftB, scaleB, gateB] = chunks as [string, string, string, string, string, string]
  return [
    { shift: shiftA, scale: scaleA, gate: gateA },
    { shift: shiftB, scale: scaleB, gate: gateB },
  ]
}

/** normed · (1 + scale) + shift; `scale` holds the 1 already. */
function modulate(graph: GraphBuilder, normed: string, { shift, scale }: Half): string {
  const scaled = graph.op('Mul', [normed, scale])
  return shift ? graph.op('Add', [scaled, shift]) : scaled
}

function addNorm(graph: GraphBuilder, config: DitConfig, x: string, weights: string[]): string {
  const type = config.rmsNorm ? 'SimplifiedLayerNormalization' : 'LayerNormalization'
  return graph.op(type, [x, ...weights], { axis: -1, epsilon: { float: NORM_EPSILON } })
}

function addSkipNorm(
  graph: GraphBuilder,
  config: DitConfig,
  branch: string,
  residual: string,
  weights: string[],
): { sum: string; normed: string } {
  const type = config.rmsNorm ? 'SkipSimplifiedLayerNormalization' : 'SkipLayerNormalization'
  const epsilon = { float: NORM_EPSILON }
  const wanted = [true, false, false, true]
  const outputs = graph.ops(type, [branch, residual, ...weights], 4, { epsilon }, MS, wanted)
  return { normed: outputs[0]!, sum: outputs[3]! }
}

/** Self-attention of [R, L, D]. q, k and v are products of their own: see vit.ts. */
function addAttention(
  graph: GraphBuilder,
  config: DitConfig,
  block: Block,
  x: string,
  rope: { cos: string; sin: string } | undefined,
): string {
  const { hiddenSize: dim, numHeads: heads } = config
  const headDim = dim / heads
  const tokens = ditTokens(config)
  const flat = graph.ints([-1, tokens, dim])
  const rows = graph.op('Reshape', [x, graph.ints([-1, dim])])
  const [q, k, v] = block.qkv.map((weights, i) => {
    let value = graph.op('Gemm', [rows, ...weights])
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
  }) as [string, string, string]
  const attributes = { num_heads: heads, scale: { float: 1 / Math.sqrt(headDim) } }
  const attended = graph.op('MultiHeadAttention', [q, k, v], attributes, MS)
  const back = graph.op('Reshape', [attended, graph.ints([-1, dim])])
  return graph.op('Reshape', [graph.op('Gemm', [back, ...block.proj]), flat])
}

function addFeedForward(graph: GraphBuilder, config: DitConfig, block: Block, x: string): string {
  const { hiddenSize: dim } = config
  const rows = graph.op('Reshape', [x, graph.ints([-1, dim])])
  const [first, second] = block.up.map((weights) => graph.op('Gemm', [rows, ...weights]))
  const hidden = second
    ? graph.op('Mul', [silu(graph, first!), second])
    : graph.op('Gelu', [first!], { approximate: 'tanh' })
  const fed = graph.op('Gemm', [hidden, ...block.down])
  return graph.op('Reshape', [fed, graph.ints([-1, ditTokens(config), dim])])
}
