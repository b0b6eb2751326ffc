/**
 * The configuration of a VTP checkpoint (`config.json`), with the defaults of the official `VTPConfig`
 * (VTP 5ce1eb6, vtp/models/vtp_hf/configuration_vtp.py), and the sizes that follow from it.
 */
import * as z from 'zod'
import { VtpError } from '../../errors.js'
import { MOST_BLOCKS, MOST_RATIO, MOST_ROWS, MOST_SIDE, MOST_WIDTH } from '../config-limits.js'

const ffn = z.enum(['mlp', 'swiglu', 'swiglu32', 'swiglu64', 'swiglu128'])
const norm = z.enum(['layernorm', 'layernormbf16', 'rmsnorm'])
const upTo = (most: number) => z.int().positive().max(most)
const [side, width, depth, rows] = [upTo(MOST_SIDE), upTo(MOST_WIDTH), upTo(MOST_BLOCKS), upTo(MOST_ROWS)]
const ratio = z.number().positive().max(MOST_RATIO)

export const configSchema = z.object({
  image_size: side.default(256),
  train_clip: z.boolean().default(true),
  train_reconstruction: z.boolean().default(true),
  vision_patch_size: side.default(16),
  vision_embed_dim: width.default(768),
  vision_depth: depth.default(12),
  vision_num_heads: side.default(12),
  vision_mlp_ratio: ratio.default(4),
  vision_ffn_layer: ffn.default('swiglu'),
  vision_norm_layer: norm.default('rmsnorm'),
  vision_init_values: z.number().nullable().default(null),
  vision_use_qk_norm: z.boolean().default(false),
  vision_feature_bottleneck: z.int().nonnegative().max(MOST_WIDTH).nullable().default(64),
  vision_bottleneck_ae_only: z.boolean().default(true),
  vision_clip_feat: z.enum(['cls', 'pooled']).default('cls'),
  text_context_length: side.default(77),
  text_vocab_size: rows.default(49408),
  text_embed_dim: width.default(768),
  text_num_heads: side.default(12),
  text_depth: depth.default(12),
  text_mlp_ratio: ratio.default(4),
  text_ls_init_value: z.number().nullable().default(null),
  text_embed_cls: z.boolean().default(false),
  text_pad_id: z.int().default(0),
  text_no_causal_mask: z.boolean().default(false),
  text_pool_type: z.enum(['argmax', 'first', 'last', 'none']).default('argmax'),
  text_proj_type: z.string().nullable().default('linear'),
  text_proj_bias: z.boolean().default(false),
  text_output_tokens: z.boolean().default(false),
  text_quick_gelu: z.boolean().default(false),
  decoder_embed_dim: width.default(768),
  decoder_num_heads: side.default(12),
  decoder_depth: depth.default(12),
  decoder_ffn_layer: ffn.default('swiglu'),
  decoder_norm_layer: norm.default('layernorm'),
  decoder_init_values: z.number().nullable().default(null),
  decoder_use_qk_norm: z.boolean().default(false),
  init_logit_scale: z.number().nullable().default(null),
  init_logit_bias: z.number().nullable().default(null),
  nonscalar_logit_scale: z.boolean().default(false),
})

export type VtpConfig = z.infer<typeof configSchema>
export type FfnKind = z.infer<typeof ffn>
export type NormKind = z.infer<typeof norm>

function bad(file: string, what: string, suggestions: string[] = []): VtpError {
  return new VtpError(`${file}: ${what}`, { code: 'bad_config', exitCode: 2, suggestions })
}

/** Parses `config.json`. Throws VtpError `wrong_architecture` or `bad_config`. */
export function parseConfig(text: string, file: string): VtpConfig {
  let raw: unknown
  try {
    raw = JSON.parse(text)
  } catch {
    throw bad(file, 'it is not valid JSON', ['download or copy the file again'])
  }
  const type = (raw as { model_type?: unknown } | null)?.model_type
  const ours = type === undefined && typeof raw === 'object' && raw !== null && 'vision_embed_dim' in raw
  if (type !== 'vtp' && !ours) {
    const seen = type === undefined ? 'no model_type' : `model_type ${JSON.stringify(type)}`
    throw new VtpError(`${file} describes another architecture (${seen}; "vtp" was expected)`, {
      code: 'wrong_architecture',
      exitCode: 2,
      suggestions: ['give a VTP checkpoint, e.g. MiniMaxAI/VTP-Large-f16d64'],
    })
  }
  const parsed = configSchema.safeParse(raw)
  if (!parsed.success) {
    const issues = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ')
    throw bad(file, `values that VTP does not know: ${issues}`)
  }
  const config = parsed.data
  const towers: [string, number, number][] = [['vision', config.vision_embed_dim, config.vision_num_heads]]
  if (config.train_reconstruction) towers.push(['decoder', config.decoder_embed_dim, config.decoder_num_heads])
  for (const [tower, dim, heads] of towers) {
    if (dim % (4 * heads) !== 0) {
      throw bad(
        file,
        `${tower}_embed_dim ${dim} is not a multiple of 4 × ${tower}_num_heads (${heads}), as rotary embedding needs`,
      )
    }
  }
  if (config.train_clip && config.text_embed_dim % config.text_num_heads !== 0) {
    throw bad(
      file,
      `text_embed_dim ${config.text_embed_dim} is not a multiple of text_num_heads ${config.text_num_heads}`,
    )
  }
  return config
}

/** Hidden width of a feed-forward layer: fc1 of an MLP, w1/w2 of a SwiGLU (vtp/models/layers/ffn.py). */
export function ffnWidth(kind: FfnKind, dim: number, ratio: number): number {
  const hidden = Math.trunc(dim * ratio)
  if (kind === 'mlp') return hidden
  const align = kind === 'swiglu' ? 8 : Number(kind.slice('swiglu'.length))
  return Math.ceil(Math.trunc((hidden * 2) / 3) / align) * align
}

/** Epsilon of a vision or decoder norm (q/k norms are always RMSNorm, 1e-5). */
export function normEpsilon(kind: NormKind): number {
  return kind === 'layernorm' ? 1e-6 : 1e-5
}

/** Channels of the latents. */
export function latentChannels(config: VtpConfig): number {
  return config.vision_feature_bottleneck ?? config.vision_embed_dim
}

/** Whether the checkpoint has a bottleneck matrix. */
export function hasBottleneck(config: VtpConfig): boolean {
  return latentChannels(config) !== config.vision_embed_dim
}

/** The pixel decoder always doubles four times, whatever the patch size of the encoder. */
export const DECODER_UPSCALE = 16
/** And its feed-forward ratio is fixed. */
export const DECODER_MLP_RATIO = 4

/** Length of the text tower's position table, and so of its input ids. */
export function textLength(config: VtpConfig): number {
  return config.text_context_length + (config.text_embed_cls ? 1 : 0)
}
