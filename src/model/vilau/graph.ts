/**
 * VILA-U as graphs. Encoder: SigLIP's image tower without its last block and norm; each place is quantised in steps,
 * the nearest entry of a codebook, then what is left of it. Decoder: latents, a 1×1 convolution, VQGAN's decoder.
 * Reference: mit-han-lab/vila-u 096623c, rqvaesiglip/modeling_rqvaesiglip.py and quantizations.py.
 */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { addCast } from '../../graph/linear.js'
import { activationDtype, type Precision } from '../../graph/precision.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { transpose } from '../../graph/transpose.js'
import type { Weights } from '../../io/weights.js'
import { HALF } from '../blocks/constants.js'
import { addConvolution, type ConvContext, registerConvolution, rowsToPlanes } from '../blocks/convolution.js'
import { emitImage } from '../blocks/decoded-image.js'
import { addImageTower } from '../blocks/image-tower.js'
import { addL2Normalize } from '../blocks/pooling.js'
import { interpolationMatrix } from '../blocks/positions.js'
import { normNamed, registerNorm, registerTransformer } from '../blocks/transformer.js'
import { registerVqganDecoder } from '../blocks/vqgan.js'
import type { DecoderSpec, EncoderSpec } from '../image-model.js'
import { registerPoolingHead, siglipImageTower } from '../siglip/graph.js'
import { siglipNames } from '../siglip/tensors.js'
import type { VilauConfig } from './config.js'

/** The name of the codebook of a step; a shared one may be stored once. */
export function codebookName({ shared }: VilauConfig, step: number, has: (name: string) => boolean): string {
  const own = `quantizer.codebooks.${step}.weight`
  return shared && !has(own) ? 'quantizer.codebooks.0.weight' : own
}

interface Codebook {
  /** [D, n]: the entries as columns. */
  columns: Value
  /** [n, D]: the entries as rows. */
  rows: Value
  /** ‖c‖², [n]. */
  norms: Value
}

/** Registers the entries of a codebook in single precision; the row behind the last is padding. */
function registerCodebook(graph: GraphBuilder, read: ReadTensor, name: string, entries: number, dim: number): Codebook {
  const table = async (): Promise<Float32Array> => (await read(name)).slice(0, entries * dim)
  return {
    columns: graph.weight(`${name}.columns`, [dim, entries], async () => transpose(await table(), entries, dim)),
    rows: graph.weight(`${name}.rows`, [entries, dim], table),
    norms: graph.weight(`${name}.norms`, [entries], async () => {
      const values = await table()
      return Float32Array.from({ length: entries }, (_, n) => {
        let sum = 0
        for (let d = 0; d < dim; d++) sum += values[n * dim + d]! ** 2
        return sum
      })
    }),
  }
}

/** Residual quantisation of rows [M, D]: codes [M] of each step, and the sum of the entries, [M, D]. */
function addResidualQuantiser(graph: GraphBuilder, rows: Value, books: Codebook[]): { codes: Value[]; sum: Value } {
  const codes: Value[] = []
  let rest = rows
  let sum: Value | undefined
  for (const { columns, rows: entries, norms } of books) {
    const length = graph.op('ReduceSumSquare', [rest, graph.ints([1])], { keepdims: 1 }) // [M, 1]
    const products = graph.op('Mul', [graph.op('MatMul', [rest, columns]), graph.scalar(2)]) // [M, n]
    const distances = graph.op('Sub', [graph.op('Add', [length, norms]), products])
    const code = graph.op('ArgMin', [distances], { axis: 1, keepdims: 0, select_last_index: 0 }) // [M]
    const entry = graph.op('Gather', [entries, code], { axis: 0 })
    codes.push(code)
    sum = sum ? graph.op('Add', [sum, entry]) : entry
    rest = graph.op('Sub', [rest, entry])
  }
  return { codes, sum: sum! }
}

/** [N·h·w, D] → [N·h/r·w/r, r·r·D], and back with `unfold`. */
function addFold(
  graph: GraphBuilder,
  rows: Value,
  { h, w, dim, fold }: Record<'h' | 'w' | 'dim' | 'fold', number>,
): Value {
  if (fold === 1) return rows
  const split = graph.op('Reshape', [rows, graph.ints([-1, h / fold, fold, w / fold, fold, dim])])
  const grouped = graph.op('Transpose', [split], { perm: [0, 1, 3, 2, 4, 5] })
  return graph.op('Reshape', [grouped, graph.ints([-1, fold * fold * dim])])
}

function addUnfold(
  graph: GraphBuilder,
  rows: Value,
  { h, w, dim, fold }: Record<'h' | 'w' | 'dim' | 'fold', number>,
): Value {
  if (fold === 1) return rows
  const split = graph.op('Reshape', [rows, graph.ints([-1, h / fold, w / fold, fold, fold, dim])])
  const grouped = graph.op('Transpose', [split], { perm: [0, 1, 3, 2, 4, 5] })
  return graph.op('Reshape', [grouped, graph.ints([-1, dim])])
}

/** Builds the encoder. Outputs: `latents` (the sum of the entries), `codes` int32 [h, w, depth], `clip` and `pooled` of the quantised tokens. */
export async function buildVilauEncoder(
  graph: GraphBuilder,
  config: VilauConfig,
  { readFloat32: read, tensors }: Weights,
  spec: EncoderSpec,
): Promise<void> {
  const { siglip, entries, depth, fold } = config
  const { precision, dtype, outputs } = spec
  const { dim } = siglip.shape
  const names = siglipNames(siglip)
  const tower = siglipImageTower(siglip, read)
  const body = { ...tower, blocks: tower.blocks.slice(0, -1), finalNorm: undefined }
  const tokens = await addImageTower(graph, body, { ...spec, outputs: ['patches'] }, (transformer) => {
    const stored = new Map<string, Codebook>()
    const books = Array.from({ length: depth }, (_, step) => {
      const name = codebookName(config, step, (key) => tensors.has(key))
      const book = stored.get(name) ?? registerCodebook(graph, read, name, entries, dim * fold * fold)
      stored.set(name, book)
      return book
    })
    const last = registerTransformer({ ...transformer, prefix: 'image.last' }, tower.blocks.slice(-1))
    const norm = registerNorm(transformer, 'image.post_norm', normNamed(read, names.norm))
    const head = siglip.head ? registerPoolingHead(transformer, siglip, read) : undefined
    return { books, last, norm, head }
  })
  const { grid, count, registered } = tokens
  const { h, w } = grid
  const float = activationDtype(precision)
  const rows = addCast(graph, graph.op('Reshape', [tokens.raw, graph.ints([-1, dim])]), float, 'float32')
  const folding = { h, w, dim, fold }
  const { codes, sum } = addResidualQuantiser(graph, addFold(graph, rows, folding), registered.books)
  const quantised = addUnfold(graph, sum, folding) // [N·h·w, D]
  if (outputs.includes('latents')) {
    const planes = addCast(graph, rowsToPlanes(graph, quantised, h, w), 'float32', dtype)
    graph.output(planes, { name: 'latents', dtype, shape: ['N', dim, h, w] })
  }
  if (outputs.includes('codes')) {
    const columns = codes.map((code) => graph.op('Reshape', [code, graph.ints([-1, h / fold, w / fold, 1])]))
    const all = graph.op('Cast', [graph.op('Concat', columns, { axis: 3 })], { to: 6 })
    graph.output(all, { name: 'codes', dtype: 'int32', shape: ['N', h / fold, w / fold, depth] })
  }
  const wanted = (['clip', 'clip_features', 'pooled'] as const).filter((name) => outputs.includes(name))
  if (wanted.length === 0 || !registered.head) return
  const { normed } = registered.last.add(addCast(graph, quantised, 'float32', float), {
    length: count,
    finalNorm: registered.norm,
  })
  const features = addCast(
    graph,
    registered.head(graph.op('Reshape', [normed!, graph.ints([-1, count, dim])]), count),
    float,
    'float32',
  )
  for (const name of wanted) {
    const value = name === 'clip' ? addL2Normalize(graph, features, precision) : features
    graph.output(addCast(graph, value, 'float32', dtype), { name, dtype, shape: ['N', dim] })
  }
}

/** Builds the decoder. */
export function buildVilauDecoder(
  graph: GraphBuilder,
  config: VilauConfig,
  { readFloat32: read, tensors }: Weights,
  spec: DecoderSpec,
): void {
  const precision: Precision = spec.precision ?? 'fp32'
  const context: ConvContext = { graph, precision, read, shapeOf: (name) => tensors.get(name)!.shape }
  const post = registerConvolution(context, 'post_quant_conv')
  const decoder = registerVqganDecoder(context, 'decoder', new Set(tensors.keys()))
  const { dim } = config.siglip.shape
  let latents = graph.input({ name: 'latents', dtype: 'float32', shape: ['N', dim, spec.height, spec.width] })
  const { decoderGrid } = config
  if (decoderGrid && (decoderGrid.h !== spec.height || decoderGrid.w !== spec.width)) {
    const rows = graph.constant(interpolationMatrix(spec.height, decoderGrid.h, 'bilinear'), [
      decoderGrid.h,
      spec.height,
    ])
    const columns = graph.constant(
      transpose(interpolationMatrix(spec.width, decoderGrid.w, 'bilinear'), decoderGrid.w, spec.width),
      [spec.width, decoderGrid.w],
    )
    latents = graph.op('MatMul', [rows, graph.op('MatMul', [latents, columns])])
  }
  const image = decoder(addConvolution(graph, addCast(graph, latents, 'float32', activationDtype(precision)), post))
  emitImage(graph, spec, { image, mean: HALF, std: HALF, rounding: 'truncate' })
}
