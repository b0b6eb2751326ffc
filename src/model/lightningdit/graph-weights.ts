/**
 * LightningDiT's weights as its graph uses them: matrices transposed to [in, out], the packed q, k, v and
 * w1, w2 apart, one registered after the other in a fixed order.
 */

import type { GraphBuilder, Value } from '../../graph/builder.js'
import { activationWeight, type Linear, linear } from '../../graph/linear.js'
import { activationDtype, type Precision } from '../../graph/precision.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { transpose } from '../../graph/transpose.js'
import { type DitConfig, ditFfnWidth, ditTokens } from './config.js'

/** A block's weights in the graph. */
export interface BlockWeights {
  norm1: Value[]
  norm2: Value[]
  qkv: [Linear, Linear, Linear]
  /** Of q and of k; empty without qk-norm. */
  qkNorm: Value[][]
  proj: Linear
  /** [w1, w2] of SwiGLU or [fc1] of an MLP. */
  up: Linear[]
  down: Linear
  ada: Linear
}

export interface DitWeights {
  patch: Linear
  position: Value
  time: [Linear, Linear]
  labels: Value
  /** [L, d/2]; undefined without RoPE. */
  rope?: { cos: Value; sin: Value }
  blocks: BlockWeights[]
  finalNorm: Value[]
  finalAda: Linear
  last: Linear
}

/** Registers all weights. The first and the last products, time, labels and modulations stay in float32. */
export function registerWeights(
  graph: GraphBuilder,
  config: DitConfig,
  precision: Precision,
  read: ReadTensor,
): DitWeights {
  const { hiddenSize: dim, inChannels: channels, patchSize: p } = config
  const headDim = dim / config.numHeads
  const tokens = ditTokens(config)
  const ffn = ditFfnWidth(config)

  /** Rows [from, from + outer) of a torch Linear. */
  const product = (
    name: string,
    source: string,
    inner: number,
    outer: number,
    options: {
      from?: number
      precision?: Precision
      arrange?: (rows: Float32Array, width: number) => Float32Array
    } = {},
  ): Linear => {
    const { from = 0, arrange = (rows: Float32Array) => rows } = options
    return linear(graph, options.precision ?? precision, {
      name,
      inner,
      outer,
      weight: async () => {
        const all = await read(`${source}.weight`)
        return transpose(arrange(all.subarray(from * inner, (from + outer) * inner), inner), outer, inner)
      },
      bias: async () => arrange((await read(`${source}.bias`)).slice(from, from + outer), 1),
    })
  }
  const exact = (name: string, inner: number, outer: number): Linear =>
    product(name, name, inner, outer, { precision: 'fp32' })

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
  const norm = (name: string): Value[] => {
    if (config.rmsNorm)
      return [activationWeight(graph, precision, `${name}.weight`, [dim], () => read(`${name}.weight`))]
    return [graph.constant(new Float32Array(dim).fill(1), [dim], activationDtype(precision))]
  }
  /** The scales' biases get the 1 of "1 + scale". */
  const adaLn = (name: string, count: number, scales: number[]): Linear =>
    linear(graph, 'fp32', {
      name,
      inner: dim,
      outer: count * dim,
      weight: async () => transpose(await read(`${name}.weight`), count * dim, dim),
      bias: async () => {
        const bias = (await read(`${name}.bias`)).slice()
        for (const at of scales) for (let i = 0; i < dim; i++) bias[at * dim + i]! += 1
        return bias
      },
    })
  const qkNorm = (base: string): Value[][] =>
    ['q_norm', 'k_norm'].map((n) =>
      (config.rmsNorm ? ['weight'] : ['weight', 'bias']).map((kind) =>
        activationWeight(graph, precision, `${base}.${n}.${kind}`, [headDim], async () =>
          reordered(await read(`${base}.${n}.${kind}`), 1),
        ),
      ),
    )

  const block = (index: number): BlockWeights => {
    const base = `blocks.${index}`
    const qkv = ['q', 'k', 'v'].map((name, i) => {
      const arrange = name === 'v' ? undefined : reordered
      return product(`${base}.attn.${name}`, `${base}.attn.qkv`, dim, dim, { from: i * dim, arrange })
    }) as [Linear, Linear, Linear]
    const up = config.swiglu
      ? ['w1', 'w2'].map((name, i) => product(`${base}.mlp.${name}`, `${base}.mlp.w12`, dim, ffn, { from: i * ffn }))
      : [product(`${base}.mlp.fc1`, `${base}.mlp.fc1`, dim, ffn)]
    const down = `${base}.mlp.${config.swiglu ? 'w3' : 'fc2'}`
    const proj = `${base}.attn.proj`
    return {
      norm1: norm(`${base}.norm1`),
      norm2: norm(`${base}.norm2`),
      qkv,
      qkNorm: config.qkNorm ? qkNorm(`${base}.attn`) : [],
      proj: product(proj, proj, dim, dim),
      up,
      down: product(down, down, ffn, dim),
      ada: adaLn(`${base}.adaLN_modulation.1`, config.woShift ? 4 : 6, config.woShift ? [0, 2] : [1, 4]),
    }
  }
  const ropeTable = (kind: 'cos' | 'sin'): Value =>
    activationWeight(graph, precision, `feat_rope.${kind}`, [tokens, headDim / 2], async () =>
      // Neighbours share an angle: the first of each pair.
      (await read(`feat_rope.freqs_${kind}`)).filter((_, i) => i % 2 === 0),
    )

  return {
    patch: exact('x_embedder.proj', channels * p * p, dim),
    position: graph.weight('pos_embed', [1, tokens, dim], () => read('pos_embed')),
    time: [exact('t_embedder.mlp.0', 256, dim), exact('t_embedder.mlp.2', dim, dim)],
    labels: graph.weight('y_embedder', [config.numClasses + (config.nullClass ? 1 : 0), dim], () =>
      read('y_embedder.embedding_table.weight'),
    ),
    rope: config.rope ? { cos: ropeTable('cos'), sin: ropeTable('sin') } : undefined,
    blocks: Array.from({ length: config.depth }, (_, i) => block(i)),
    finalNorm: norm('final_layer.norm_final'),
    finalAda: adaLn('final_layer.adaLN_modulation.1', 2, [1]),
    last: lastLinear(graph, config, read),
  }
}

/** The last projection, without the rows of a learned sigma: sampling never reads them. */
function lastLinear(graph: GraphBuilder, config: DitConfig, read: ReadTensor): Linear {
  const { hiddenSize: dim, inChannels: channels, patchSize: p } = config
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
  return linear(graph, 'fp32', {
    name: 'final_layer.linear',
    inner: dim,
    outer: wanted.length,
    weight: async () => transpose(await pick('final_layer.linear.weight', dim), wanted.length, dim),
    bias: () => pick('final_layer.linear.bias', 1),
  })
}
