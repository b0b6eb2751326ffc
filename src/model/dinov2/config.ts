/**
 * The sizes of a DINOv2 checkpoint: from `config.json` in transformers' layout (Dinov2Config of transformers 5), from
 * the shapes of its tensors in the hub's, whose files have no configuration (facebookresearch/dinov2, hub/backbones.py).
 */
import * as z from 'zod'
import type { StoredTensor } from '../../io/weights.js'
import type { PositionRule } from '../blocks/positions.js'
import { hubNumber } from '../blocks/torch-claim.js'
import type { TransformerShape } from '../blocks/transformer.js'
import { inferVitSizes } from '../blocks/vit-file.js'
import { assertHeads, badConfig, LIMITS, parseWith } from '../clip/config.js'

export interface Dinov2Config {
  layout: 'hub' | 'transformers'
  shape: TransformerShape
  depth: number
  patch: number
  /** Patches per side of the trained grid. */
  side: number
  registers: number
  /** How positions are resampled: by factor and an offset without registers in the hub's code, by size elsewhere. */
  positions: PositionRule
  maskToken: boolean
}

/** What the probe and k-NN of DINOv2 use, and MAE's evaluation: far below the trained 518 pixels. */
export const EVALUATION_SIZE = 224
const HEAD_WIDTH = 64

/** Hidden width of the SwiGLU for an MLP ratio: ⌊4D·2/3⌋, up to a multiple of 8. */
function swigluWidth(dim: number, ratio: number): number {
  return Math.floor((Math.trunc((Math.trunc(dim * ratio) * 2) / 3) + 7) / 8) * 8
}

const { count, width, depth, ratio } = LIMITS
const schema = z.object({
  model_type: z.enum(['dinov2', 'dinov2_with_registers']),
  hidden_size: width.default(768),
  num_hidden_layers: depth.default(12),
  num_attention_heads: width.default(12),
  mlp_ratio: ratio.default(4),
  hidden_act: z.literal('gelu').default('gelu'),
  layer_norm_eps: z.number().positive().default(1e-6),
  image_size: count.default(224),
  patch_size: count.default(14),
  num_channels: z.literal(3).default(3),
  qkv_bias: z.literal(true).default(true),
  use_swiglu_ffn: z.boolean().default(false),
  use_mask_token: z.boolean().default(true),
  num_register_tokens: z.int().nonnegative().max(64).default(4),
})

/** Parses transformers' `config.json`. Throws VtpError `bad_config`. */
export function parseDinov2Config(raw: unknown, file: string): Dinov2Config {
  const config = parseWith(schema, raw, file)
  const dim = config.hidden_size
  const shape: TransformerShape = {
    dim,
    heads: config.num_attention_heads,
    hidden: config.use_swiglu_ffn ? swigluWidth(dim, config.mlp_ratio) : Math.trunc(dim * config.mlp_ratio),
    epsilon: config.layer_norm_eps,
    activation: config.use_swiglu_ffn ? 'swiglu' : 'gelu',
  }
  assertHeads(file, 'vision', shape)
  const hasRegisters = config.model_type === 'dinov2_with_registers'
  if (config.image_size < config.patch_size) throw badConfig(file, `image_size ${config.image_size} holds no patch`)
  return {
    layout: 'transformers',
    shape,
    depth: config.num_hidden_layers,
    patch: config.patch_size,
    side: Math.floor(config.image_size / config.patch_size),
    registers: hasRegisters ? config.num_register_tokens : 0,
    positions: hasRegisters ? 'bicubic-antialias' : 'bicubic',
    maskToken: hasRegisters || config.use_mask_token,
  }
}

/** The sizes that a hub file's tensors have. `hub` may give the heads, which shapes do not show; else 64 channels each. */
export function inferDinov2Config(
  tensors: ReadonlyMap<string, StoredTensor>,
  hub: Record<string, unknown> | undefined,
  file: string,
): Dinov2Config {
  const { dim, patch, side, depth, shapeOf } = inferVitSizes(tensors, 'DINOv2', file)
  const swiglu = tensors.has('blocks.0.mlp.w12.weight')
  const hidden = swiglu ? (shapeOf('blocks.0.mlp.w3.weight')[1] ?? 0) : (shapeOf('blocks.0.mlp.fc1.weight')[0] ?? 0)
  const registers = tensors.has('register_tokens') ? (shapeOf('register_tokens')[1] ?? 0) : 0
  const shape: TransformerShape = {
    dim,
    heads: hubNumber(hub, 'num_heads') ?? Math.max(1, Math.floor(dim / HEAD_WIDTH)),
    hidden,
    epsilon: 1e-6,
    activation: swiglu ? 'swiglu' : 'gelu',
  }
  assertHeads(file, 'vision', shape)
  return {
    layout: 'hub',
    shape,
    depth,
    patch,
    side,
    registers,
    positions: registers > 0 ? 'bicubic-antialias' : 'bicubic-offset',
    maskToken: tensors.has('mask_token'),
  }
}
