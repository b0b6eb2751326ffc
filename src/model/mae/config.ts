/**
 * The sizes of an MAE checkpoint: from `config.json` in transformers' layout (ViTMAEConfig of transformers 5), from the
 * shapes of its tensors in its authors' files (facebookresearch/mae efb2a80), which have no configuration.
 */
import * as z from 'zod'
import type { StoredTensor } from '../../io/weights.js'
import { hubNumber } from '../blocks/torch-claim.js'
import type { TransformerShape } from '../blocks/transformer.js'
import { inferVitSizes } from '../blocks/vit-file.js'
import { assertHeads, LIMITS, parseWith } from '../clip/config.js'

export interface MaeConfig {
  layout: 'original' | 'transformers'
  shape: TransformerShape
  depth: number
  patch: number
  /** Patches per side of the trained grid. */
  side: number
  /** Classes of a fine-tuned model: it has a head, and a norm of the pooled vector in place of the final norm. */
  classes: number
}

const { count, width, depth } = LIMITS
const schema = z.object({
  model_type: z.literal('vit_mae'),
  hidden_size: width.default(768),
  num_hidden_layers: depth.default(12),
  num_attention_heads: width.default(12),
  intermediate_size: count.default(3072),
  hidden_act: z.literal('gelu').default('gelu'),
  layer_norm_eps: z.number().positive().default(1e-12),
  image_size: count.default(224),
  patch_size: count.default(16),
  num_channels: z.literal(3).default(3),
  qkv_bias: z.literal(true).default(true),
})

/** Parses transformers' `config.json`. Throws VtpError `bad_config`. */
export function parseMaeConfig(raw: unknown, file: string): MaeConfig {
  const config = parseWith(schema, raw, file)
  const shape: TransformerShape = {
    dim: config.hidden_size,
    heads: config.num_attention_heads,
    hidden: config.intermediate_size,
    epsilon: config.layer_norm_eps,
    activation: 'gelu',
  }
  assertHeads(file, 'vision', shape)
  return {
    layout: 'transformers',
    shape,
    depth: config.num_hidden_layers,
    patch: config.patch_size,
    side: Math.floor(config.image_size / config.patch_size),
    classes: 0,
  }
}

/** Heads by width, as the code's three models have them: huge has heads of 80 channels. */
const HEADS: Record<number, number> = { 768: 12, 1024: 16, 1280: 16 }

/** The sizes that a file's tensors have. `hub` may give the heads, which shapes do not show. */
export function inferMaeConfig(
  tensors: ReadonlyMap<string, StoredTensor>,
  hub: Record<string, unknown> | undefined,
  file: string,
): MaeConfig {
  const { dim, patch, side, depth, shapeOf } = inferVitSizes(tensors, 'MAE', file)
  const shape: TransformerShape = {
    dim,
    heads: hubNumber(hub, 'num_heads') ?? HEADS[dim] ?? Math.max(1, Math.floor(dim / 64)),
    hidden: shapeOf('blocks.0.mlp.fc1.weight')[0] ?? 0,
    epsilon: 1e-6,
    activation: 'gelu',
  }
  assertHeads(file, 'vision', shape)
  return {
    layout: 'original',
    shape,
    depth,
    patch,
    side,
    classes: tensors.has('head.weight') ? (shapeOf('head.weight')[0] ?? 0) : 0,
  }
}
