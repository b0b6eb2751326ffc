/**
 * VTP's forward pass for training, in the layout of the state dict: parameters keep their names and shapes, so that
 * what is trained is what a checkpoint holds. (vit.ts is the same model for encoding: weights transposed and folded.)
 * Reference: the training class vtp/models/vtp.py (VTP 5ce1eb6) and the layers that it uses.
 *
 * Traps: q and k are rounded to bfloat16 by RoPE in the forward pass even in float32, the CLS token too; the gradient
 * passes straight through (`addGradients(…, { straightThrough: true })`). Stochastic depth works on whole images: a
 * residual branch sees the kept rows only, and their part is scaled by batch / kept.
 */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { toBf16 } from '../../graph/linear.js'
import { IMAGENET_MEAN, IMAGENET_STD } from '../../image/normalize.js'
import { DECODER_UPSCALE, hasBottleneck, latentChannels, normEpsilon, type VtpConfig } from './config.js'
import { ropeTables } from './rope.js'
import { decoderShape, type VitShape, visionShape } from './tensors.js'

const MS = 'com.microsoft'
const QK_NORM_EPSILON = { float: 1e-5 }

/** Gives the value of a tensor of the state dict. */
export type Parameter = (name: string) => Value
export type RopeArithmetic = 'bf16' | 'fp32'

/** Rows that a residual branch works on, int64 [kept]; undefined: all. */
export type KeptRows = (block: number, branch: 'attn' | 'ffn') => Value | undefined

interface VitPass {
  graph: GraphBuilder
  parameter: Parameter
  shape: VitShape
  batch: number
  tokens: number
  turn: (x: Value) => Value
  keep: KeptRows
}

export interface TrainingModel {
  graph: GraphBuilder
  config: VtpConfig
  parameter: Parameter
  rope: RopeArithmetic
  /** The stored periods of `trunk` and `pixel_decoder`. */
  periods: (prefix: VitShape['prefix']) => Float32Array
}

export interface TrunkPass {
  /** uint8 or normalised planes: see `normalisedPlanes`, [B, 3, H, W]. */
  planes: Value
  /** bool [B, N]: patches that the mask token stands for. */
  masks?: Value
  keep?: KeptRows
}

export interface TrunkFeatures {
  /** After the final norm, [B, D]. */
  cls: Value
  /** [B, N, D] */
  patches: Value
  grid: { h: number; w: number }
}

const reshape = (graph: GraphBuilder, x: Value, ...shape: number[]): Value =>
  graph.op('Reshape', [x, graph.ints(shape)])

function linear(graph: GraphBuilder, parameter: Parameter, x: Value, name: string): Value {
  return graph.op('Gemm', [x, parameter(`${name}.weight`), parameter(`${name}.bias`)], { transB: 1 })
}

const sizesOf = (x: Value): number[] => x.shape.map(Number)

/** uint8 [B, H, W, 3] → (x / 255 − mean) / std as planes [B, 3, H, W]. */
export function normalisedPlanes(graph: GraphBuilder, pixels: Value): Value {
  const perChannel = (values: readonly number[]): Value => graph.constant([...values], [1, 3, 1, 1])
  const planes = graph.op('Transpose', [graph.op('Cast', [pixels], { to: 1 })], { perm: [0, 3, 1, 2] })
  const unit = graph.op('Div', [planes, graph.scalar(255)])
  return graph.op('Div', [graph.op('Sub', [unit, perChannel(IMAGENET_MEAN)]), perChannel(IMAGENET_STD)])
}

/** RoPE of q or k, [B, L, D]; a leading CLS token is rounded, not turned. */
function rotation(
  graph: GraphBuilder,
  periods: Float32Array,
  shape: VitShape,
  grid: { h: number; w: number },
  lead: number,
  arithmetic: RopeArithmetic,
): (x: Value) => Value {
  const { heads, dim } = shape
  const d = dim / heads
  const half = d / 2
  const length = grid.h * grid.w + lead
  const tables = ropeTables(periods, grid.h, grid.w, arithmetic === 'fp32' ? Math.fround : undefined)
  const cos = new Float32Array(length * d).fill(1, 0, lead * d)
  cos.set(tables.cos, lead * d)
  const halves = (values: Float32Array, rows: number): Float32Array =>
    Float32Array.from({ length: rows * half }, (_, i) => values[Math.floor(i / half) * d + (i % half)]!)
  const sin = new Float32Array(length * half)
  sin.set(halves(tables.sin, grid.h * grid.w), lead * half)
  const positions = graph.constant([0], [1], 'int64')
  const sines = graph.constant(sin, [length, half])
  const rotate = (x: Value, cosines: Value): Value =>
    graph.op('RotaryEmbedding', [x, positions, cosines, sines], { num_heads: heads }, MS)
  if (arithmetic === 'fp32') {
    const cosines = graph.constant(halves(cos, length), [length, half])
    return (x) => rotate(x, cosines)
  }
  // bf16(bf16(x cos) + bf16(rotate_half(x) sin)): with cosines of 0 the operator gives the second term.
  const whole = graph.constant(cos, [length, 1, d])
  const none = graph.constant(new Float32Array(length * half), [length, half])
  return (x) => {
    const rounded = toBf16(graph, x)
    const byHead = reshape(graph, rounded, -1, length, heads, d)
    const straight = reshape(graph, toBf16(graph, graph.op('Mul', [byHead, whole])), -1, length, dim)
    return toBf16(graph, graph.op('Add', [straight, toBf16(graph, rotate(rounded, none))]))
  }
}

function norm({ graph, parameter, shape }: VitPass, x: Value, name: string): Value {
  const epsilon = { float: normEpsilon(shape.norm) }
  const weight = parameter(`${name}.weight`)
  if (shape.norm === 'rmsnorm') return graph.op('SimplifiedLayerNormalization', [x, weight], { axis: -1, epsilon })
  return graph.op('LayerNormalization', [x, weight, parameter(`${name}.bias`)], { axis: -1, epsilon })
}

/** x + branch(x), by images where only some take part; x is [B, L, D]. */
function residual({ graph, batch }: VitPass, x: Value, keep: Value | undefined, branch: (x: Value) => Value): Value {
  if (!keep) return graph.op('Add', [x, branch(x)])
  const kept = Number(keep.shape[0])
  const part = branch(graph.op('Gather', [x, keep], { axis: 0 }))
  const scaled = graph.op('Mul', [part, graph.scalar(batch / kept)])
  return graph.op('ScatterND', [x, reshape(graph, keep, kept, 1), scaled], { reduction: 'add' })
}

function block(pass: VitPass, x: Value, index: number): Value {
  const { graph, parameter, shape, tokens, turn, keep } = pass
  const { dim, heads } = shape
  const d = dim / heads
  const name = `${shape.prefix}.blocks.${index}`
  const flat = (value: Value): Value => reshape(graph, value, -1, dim)
  const cube = (value: Value): Value => reshape(graph, value, -1, tokens, dim)
  const product = (value: Value, layer: string): Value => linear(graph, parameter, value, `${name}.${layer}`)
  const scaled = (value: Value, which: string): Value =>
    shape.layerScale ? graph.op('Mul', [value, parameter(`${name}.${which}.gamma`)]) : value
  const headNorm = (value: Value, which: string): Value => {
    if (!shape.qkNorm) return value
    const byHead = reshape(graph, value, -1, tokens, heads, d)
    const weight = parameter(`${name}.attn.${which}.weight`)
    return cube(graph.op('SimplifiedLayerNormalization', [byHead, weight], { axis: -1, epsilon: QK_NORM_EPSILON }))
  }
  const attended = residual(pass, x, keep(index, 'attn'), (value) => {
    const packed = product(flat(norm(pass, value, `${name}.norm1`)), 'attn.qkv')
    const [q, k, v] = graph.ops('Split', [packed], 3, { axis: 1, num_outputs: 3 }).map(cube) as [Value, Value, Value]
    const inputs = [turn(headNorm(q, 'q_norm')), turn(headNorm(k, 'k_norm')), v]
    const mixed = graph.op('MultiHeadAttention', inputs, { num_heads: heads, scale: { float: d ** -0.5 } }, MS)
    return scaled(cube(product(flat(mixed), 'attn.proj')), 'ls1')
  })
  return residual(pass, attended, keep(index, 'ffn'), (value) => {
    const rows = flat(norm(pass, value, `${name}.norm2`))
    const down =
      shape.ffn === 'mlp'
        ? product(graph.op('Gelu', [product(rows, 'mlp.fc1')], {}, MS), 'mlp.fc2')
        : product(graph.op('Mul', [silu(graph, product(rows, 'mlp.w1')), product(rows, 'mlp.w2')]), 'mlp.w3')
    return scaled(cube(down), 'ls2')
  })
}

const silu = (graph: GraphBuilder, x: Value): Value => graph.op('QuickGelu', [x], { alpha: { float: 1 } }, MS)

/** Blocks and final norm, [B, L, D] → [B, L, D]. */
function blocks(pass: VitPass, x: Value): Value {
  let value = x
  for (let i = 0; i < pass.shape.depth; i++) value = block(pass, value, i)
  return norm(pass, value, `${pass.shape.prefix}.norm`)
}

/** The trunk on a batch of planes. */
export function addTrunk(model: TrainingModel, { planes, masks, keep = () => undefined }: TrunkPass): TrunkFeatures {
  const { graph, config, parameter } = model
  const shape = visionShape(config)
  const { dim } = shape
  const p = config.vision_patch_size
  const [batch, , height, width] = sizesOf(planes) as [number, number, number, number]
  const grid = { h: height / p, w: width / p }
  const count = grid.h * grid.w
  const cells = reshape(graph, planes, -1, 3, grid.h, p, grid.w, p)
  const patches = reshape(graph, graph.op('Transpose', [cells], { perm: [0, 2, 4, 1, 3, 5] }), -1, 3 * p * p)
  const kernel = reshape(graph, parameter('trunk.patch_embed.proj.weight'), dim, 3 * p * p)
  const bias = parameter('trunk.patch_embed.proj.bias')
  let embedded = reshape(graph, graph.op('Gemm', [patches, kernel, bias], { transB: 1 }), -1, count, dim)
  if (masks) {
    const where = reshape(graph, masks, batch, count, 1)
    const token = reshape(graph, parameter('trunk.mask_token'), 1, 1, dim)
    embedded = graph.op('Where', [where, token, embedded])
  }
  const cls = graph.op('Expand', [parameter('trunk.cls_token'), graph.ints([batch, 1, dim])])
  const tokens = graph.op('Concat', [cls, embedded], { axis: 1 })
  const turn = rotation(graph, model.periods('trunk'), shape, grid, 1, model.rope)
  const pass: VitPass = { graph, parameter, shape, batch, tokens: count + 1, turn, keep }
  const out = blocks(pass, tokens)
  const [first, rest] = graph.ops('Split', [out, graph.ints([1, count])], 2, { axis: 1 }) as [Value, Value]
  return { cls: reshape(graph, first, batch, dim), patches: rest, grid }
}

/** Rows [R, D] → [R, d]; themselves where the model has no bottleneck. */
export function addBottleneck({ graph, config, parameter }: TrainingModel, rows: Value): Value {
  if (!hasBottleneck(config)) return rows
  return graph.op('Gemm', [rows, parameter('trunk.feature_bottleneck.weight')], { transB: 1 })
}

/** Latent rows [B·N, d] → normalised planes [B, 3, 16 h, 16 w]. */
export function addPixelDecoder(model: TrainingModel, rows: Value, grid: { h: number; w: number }): Value {
  const { graph, config, parameter } = model
  const shape = decoderShape(config)
  const { dim } = shape
  const channels = latentChannels(config)
  const up = DECODER_UPSCALE
  const count = grid.h * grid.w
  const matrix = (name: string, out: number, inner: number, x: Value): Value =>
    graph.op('Gemm', [x, reshape(graph, parameter(`${name}.weight`), out, inner), parameter(`${name}.bias`)], {
      transB: 1,
    })
  const first = reshape(graph, matrix('pixel_decoder.proj_in', dim, channels, rows), -1, count, dim)
  const turn = rotation(graph, model.periods('pixel_decoder'), shape, grid, 0, model.rope)
  const batch = Number(first.shape[0])
  const pass: VitPass = { graph, parameter, shape, batch, tokens: count, turn, keep: () => undefined }
  const out = reshape(graph, blocks(pass, first), -1, dim)
  const enlarged = matrix('pixel_decoder.proj_out', 3 * up * up, dim, out)
  const cells = reshape(graph, enlarged, -1, grid.h, grid.w, 3, up, up)
  const planes = graph.op('Transpose', [cells], { perm: [0, 3, 1, 4, 2, 5] }) // [B, 3, h, 16, w, 16]
  return reshape(graph, planes, -1, 3, grid.h * up, grid.w * up)
}
