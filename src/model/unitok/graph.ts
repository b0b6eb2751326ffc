/**
 * UniTok as graphs. Encoder: convolutions, blocks, a projection to the codes' width, one code per chunk of channels:
 * the entry of the largest cosine. Decoder: a projection back, blocks, convolutions. Reference: FoundationVision/UniTok
 * bb8012e, models/unitok.py and models/quantizer.py.
 */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { activationWeight, addCast, addProduct } from '../../graph/linear.js'
import { activationDtype } from '../../graph/precision.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { transpose } from '../../graph/transpose.js'
import type { Weights } from '../../io/weights.js'
import { HALF } from '../blocks/constants.js'
import { type ConvContext, rowsToPlanes } from '../blocks/convolution.js'
import { emitImage } from '../blocks/decoded-image.js'
import { namedLayout } from '../blocks/layouts.js'
import {
  addL2Normalize,
  addMeanOfTokens,
  atLeastTwoRows,
  dropLastRow,
  prependTokens,
  takeTokens,
} from '../blocks/pooling.js'
import {
  addLayerNorm,
  type BlockTensors,
  linearNamed,
  normNamed,
  registerLinear,
  registerNorm,
  registerTransformer,
  type Transformer,
} from '../blocks/transformer.js'
import { addSignedPixels } from '../blocks/vqgan.js'
import type { DecoderSpec, EncoderSpec } from '../image-model.js'
import type { UnitokConfig } from './config.js'
import { registerEnlarger, registerStem } from './mbconv.js'
import { registerProjection } from './projection.js'

/** Blocks whose feed-forward network has a norm of its own. */
export function unitokBlocks(read: ReadTensor, prefix: string, depth: number): BlockTensors[] {
  const layout = namedLayout(prefix, {
    norm1: 'norm1',
    norm2: 'norm2',
    qkv: { weight: 'attn.qkv.weight', bias: 'attn.qkv.bias' },
    proj: 'attn.proj',
    up: 'mlp.w0',
    down: 'mlp.w2',
  })
  return Array.from({ length: depth }, (_, i) => ({
    ...layout.read(read, i),
    innerNorm: normNamed(read, `${prefix}.${i}.mlp.norm`),
    up: ['w0', 'w1'].map((name) => linearNamed(read, `${prefix}.${i}.mlp.${name}`)),
  }))
}

function contextOf(
  graph: GraphBuilder,
  { readFloat32, tensors }: Weights,
  precision: EncoderSpec['precision'],
): ConvContext {
  return { graph, precision, read: readFloat32, shapeOf: (name) => tensors.get(name)!.shape }
}

/** The entries of a codebook, each of length 1, as rows [n, c]. */
async function unitEntries(read: ReadTensor, name: string, chunk: number): Promise<Float32Array> {
  const table = await read(name)
  const out = new Float32Array(table.length)
  for (let at = 0; at < table.length; at += chunk) {
    let sum = 0
    for (let i = 0; i < chunk; i++) sum += table[at + i]! ** 2
    const norm = Math.max(Math.sqrt(sum), 1e-12)
    for (let i = 0; i < chunk; i++) out[at + i] = table[at + i]! / norm
  }
  return out
}

/** Codes [M] of every chunk of rows [M, width], and the entries they name, side by side. */
function registerQuantiser(
  graph: GraphBuilder,
  read: ReadTensor,
  { codebooks, entries, width }: UnitokConfig,
): (rows: Value) => { codes: Value[]; values: Value } {
  const chunk = width / codebooks
  const books = Array.from({ length: codebooks }, (_, i) => {
    const name = `quantizer.codebooks.${i}.codebook.weight`
    const rows = (): Promise<Float32Array> => unitEntries(read, name, chunk)
    return {
      rows: graph.weight(`${name}.rows`, [entries, chunk], rows),
      columns: graph.weight(`${name}.columns`, [chunk, entries], async () => transpose(await rows(), entries, chunk)),
    }
  })
  return (all) => {
    const codes: Value[] = []
    const values = books.map(({ rows, columns }, i) => {
      const part = graph.op('Slice', [all, graph.ints([i * chunk]), graph.ints([(i + 1) * chunk]), graph.ints([1])])
      const cosines = graph.op('MatMul', [addL2Normalize(graph, part, 'fp32'), columns])
      const code = graph.op('ArgMax', [cosines], { axis: 1, keepdims: 0, select_last_index: 0 })
      codes.push(code)
      return graph.op('Gather', [rows, code], { axis: 0 })
    })
    return { codes, values: graph.op('Concat', values, { axis: 1 }) }
  }
}

/**
 * Builds the encoder. Outputs: `latents`, `codes` int32 [books, tokens], `clip` (before normalisation `clip_features`,
 * `pooled`), `patches` (tokens projected back).
 */
export async function buildUnitokEncoder(
  graph: GraphBuilder,
  config: UnitokConfig,
  weights: Weights,
  spec: EncoderSpec,
): Promise<void> {
  const { shape, queries, width, codebooks, embedding } = config
  const { precision, dtype, outputs } = spec
  const { dim } = shape
  const read = weights.readFloat32
  const float = activationDtype(precision)
  const transformer: Transformer = { graph, precision, shape, prefix: 'encoder.blocks' }
  const own = (name: string, dims: number[]): Value => activationWeight(graph, precision, name, dims, () => read(name))
  const stem = registerStem(contextOf(graph, weights, precision), new Set(weights.tensors.keys()))
  const positions = own('encoder.pos_embed', [1, 1, dim])
  const front = queries > 0 ? own('encoder.reg_token', [1, queries, dim]) : undefined
  const blocks = registerTransformer(transformer, unitokBlocks(read, 'encoder.blocks', config.encoderDepth))
  const norm = registerNorm(transformer, 'encoder.norm', normNamed(read, 'encoder.norm'))
  const down = registerProjection(transformer, 'quant_proj', read, config.projection, [dim, width])
  const quantise = registerQuantiser(graph, read, config)
  const up = registerProjection(transformer, 'post_quant_proj', read, config.projection, [width, dim])
  const poolNorm = registerNorm(transformer, 'fc_norm', normNamed(read, 'fc_norm'))
  const project = registerLinear(transformer, 'projection', [dim, embedding], linearNamed(read, 'projection'))

  const { rows, h, w } = stem(addCast(graph, addSignedPixels(graph, spec), 'float32', float))
  const count = h * w
  const length = queries + count
  let tokens = graph.op('Reshape', [rows, graph.ints([-1, count, dim])])
  if (front) tokens = prependTokens(graph, front, tokens, [queries, dim])
  tokens = graph.op('Add', [tokens, positions])
  const run = blocks.add(graph.op('Reshape', [tokens, graph.ints([-1, dim])]), { length, finalNorm: norm })
  const narrow = addCast(graph, down(run.normed!, length), float, 'float32')
  const { codes, values } = quantise(narrow)
  if (outputs.includes('latents')) {
    const byToken = graph.op('Reshape', [values, graph.ints([-1, length, width])])
    const flat = graph.op('Transpose', [byToken], { perm: [0, 2, 1] })
    const channels = latentChannels(config, count)
    const planes = addCast(graph, graph.op('Reshape', [flat, graph.ints([-1, channels, h, w])]), 'float32', dtype)
    graph.output(planes, { name: 'latents', dtype, shape: ['N', channels, h, w] })
  }
  if (outputs.includes('codes')) {
    const parts = codes.map((code) => graph.op('Reshape', [code, graph.ints([-1, 1, length])]))
    const all = graph.op('Cast', [graph.op('Concat', parts, { axis: 1 })], { to: 6 })
    graph.output(all, { name: 'codes', dtype: 'int32', shape: ['N', codebooks, length] })
  }
  const wanted = (['clip', 'clip_features', 'pooled', 'patches'] as const).filter((name) => outputs.includes(name))
  if (wanted.length === 0) return
  const wide = graph.op('Reshape', [
    up(addCast(graph, values, 'float32', float), length),
    graph.ints([-1, length, dim]),
  ])
  if (outputs.includes('patches'))
    graph.output(addCast(graph, wide, float, dtype), { name: 'patches', dtype, shape: ['N', length, dim] })
  const pooled = addLayerNorm(transformer, addMeanOfTokens(graph, wide, float, length, dim), poolNorm)
  const projected = addProduct(graph, { values: atLeastTwoRows(graph, pooled) }, project)
  const features = addCast(graph, dropLastRow(graph, projected), float, 'float32')
  for (const name of wanted) {
    if (name === 'patches') continue
    const value = name === 'clip' ? addL2Normalize(graph, features, precision) : features
    graph.output(addCast(graph, value, 'float32', dtype), { name, dtype, shape: ['N', embedding] })
  }
}

/** Channels of latents on the grid of `count` places: the codes' width, and what tokens in front add to it. */
export function latentChannels({ width, queries }: UnitokConfig, count: number): number {
  return (width * (queries + count)) / count
}

/** Builds the decoder. */
export function buildUnitokDecoder(
  graph: GraphBuilder,
  config: UnitokConfig,
  weights: Weights,
  spec: DecoderSpec,
): void {
  const { shape, queries, width } = config
  const precision = spec.precision ?? 'fp32'
  const { dim } = shape
  const read = weights.readFloat32
  const float = activationDtype(precision)
  const transformer: Transformer = { graph, precision, shape, prefix: 'decoder.blocks' }
  const up = registerProjection(transformer, 'post_quant_proj', read, config.projection, [width, dim])
  const blocks = registerTransformer(transformer, unitokBlocks(read, 'decoder.blocks', config.decoderDepth))
  const norm = registerNorm(transformer, 'decoder.norm', normNamed(read, 'decoder.norm'))
  const enlarge = registerEnlarger(contextOf(graph, weights, precision), new Set(weights.tensors.keys()))
  const { height: h, width: w } = spec
  const count = h * w
  const length = queries + count
  const channels = latentChannels(config, count)
  const latents = graph.input({ name: 'latents', dtype: 'float32', shape: ['N', channels, h, w] })
  const flat = graph.op('Reshape', [latents, graph.ints([-1, width, length])])
  const rows = graph.op('Reshape', [graph.op('Transpose', [flat], { perm: [0, 2, 1] }), graph.ints([-1, width])])
  const tokens = up(addCast(graph, rows, 'float32', float), length)
  const run = blocks.add(tokens, { length, finalNorm: norm })
  const all = graph.op('Reshape', [run.normed!, graph.ints([-1, length, dim])])
  const kept = queries > 0 ? takeTokens(graph, all, queries, length) : all
  const planes = rowsToPlanes(graph, graph.op('Reshape', [kept, graph.ints([-1, dim])]), h, w)
  const wide = addCast(graph, enlarge(planes), float, 'float32')
  const image = graph.op('Clip', [wide, graph.scalar(-1), graph.scalar(1)])
  emitImage(graph, { ...spec, precision: 'fp32' }, { image, mean: HALF, std: HALF, rounding: 'half-even' })
}
