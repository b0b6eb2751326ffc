/**
 * open_clip's `open_clip_config.json` (open_clip 3.3, src/open_clip/model.py: CLIPVisionCfg and CLIPTextCfg). What this
 * program does not build is refused by the option's name.
 */
import * as z from 'zod'
import { CLIP_MEAN, CLIP_STD } from '../blocks/constants.js'
import type { TextPool } from '../blocks/text-tower.js'
import type { Activation, TransformerShape } from '../blocks/transformer.js'
import {
  assertHeads,
  badConfig,
  type ClipConfig,
  type ClipTextConfig,
  LIMITS,
  parseWith,
  refusedOption,
} from './config.js'

const { count, width, depth, ratio } = LIMITS
const sides = z.union([count, z.tuple([count, count])])
const kwargs = z.record(z.string(), z.unknown()).nullish()

export const openClipSchema = z.object({
  model_cfg: z.object({
    embed_dim: width,
    quick_gelu: z.boolean().default(false),
    custom_text: z.boolean().default(false),
    init_logit_bias: z.number().nullish(),
    vision_cfg: z.looseObject({
      image_size: sides.default(224),
      layers: z.union([depth, z.array(z.unknown())]).default(12),
      width: width.default(768),
      head_width: width.default(64),
      mlp_ratio: ratio.default(4),
      patch_size: sides.default(16),
      ls_init_value: z.number().nullish(),
      no_ln_pre: z.boolean().default(false),
      pool_type: z.string().default('tok'),
      final_ln_after_pool: z.boolean().default(false),
      act_kwargs: kwargs,
      norm_kwargs: kwargs,
    }),
    text_cfg: z.looseObject({
      context_length: count.default(77),
      vocab_size: count.default(49408),
      width: width.default(512),
      heads: width.default(8),
      layers: depth.default(12),
      mlp_ratio: ratio.default(4),
      ls_init_value: z.number().nullish(),
      no_causal_mask: z.boolean().default(false),
      pool_type: z.string().default('argmax'),
      proj_type: z.string().nullable().default('linear'),
      proj_bias: z.boolean().default(false),
      act_kwargs: kwargs,
      norm_kwargs: kwargs,
    }),
  }),
  preprocess_cfg: z
    .looseObject({
      mean: z.array(z.number()).length(3).optional(),
      std: z.array(z.number().positive()).length(3).optional(),
      interpolation: z.string().optional(),
      resize_mode: z.string().optional(),
    })
    .default({}),
})

/** Options of either tower that change what it computes and are not built here. Off values are fine. */
const REFUSED = [
  'timm_model_name',
  'hf_model_name',
  'attentional_pool',
  'attn_pooler_heads',
  'qk_norm',
  'scaled_cosine_attn',
  'scale_heads',
  'scale_attn',
  'scale_attn_inner',
  'scale_fc',
  'block_type',
  'inner_norm',
  'output_tokens',
  'embed_cls',
  'input_patchnorm',
]
/** Those that only name a setting of a refused one, or nothing at inference. */
const HARMLESS = new Set(['attn_pooler_heads', 'output_tokens'])

function refuseOptions(file: string, section: string, values: Record<string, unknown>): void {
  for (const name of REFUSED) {
    const value = values[name]
    const off = value === undefined || value === null || value === false || value === 'default'
    if (!off && !HARMLESS.has(name)) throw refusedOption(file, `${section}.${name} ${JSON.stringify(value)}`)
  }
}

function openClipActivation(
  file: string,
  quick: boolean,
  settings: Record<string, unknown> | null | undefined,
): Activation {
  const other = Object.keys(settings ?? {}).find((name) => name !== 'approximate')
  if (other !== undefined) throw refusedOption(file, `act_kwargs.${other}`)
  const approximate = settings?.approximate ?? 'none'
  if (approximate !== 'none' && approximate !== 'tanh')
    throw refusedOption(file, `act_kwargs.approximate ${approximate}`)
  if (quick) return 'quick-gelu'
  return approximate === 'tanh' ? 'gelu-tanh' : 'gelu'
}

function openClipEpsilon(file: string, settings: Record<string, unknown> | null | undefined): number {
  const other = Object.keys(settings ?? {}).find((name) => name !== 'eps')
  if (other !== undefined) throw refusedOption(file, `norm_kwargs.${other}`)
  const epsilon = settings?.eps ?? 1e-5
  if (typeof epsilon !== 'number' || !(epsilon > 0)) throw badConfig(file, `norm_kwargs.eps ${JSON.stringify(epsilon)}`)
  return epsilon
}

/** The text tower of `open_clip_config.json`, which SigLIP's open_clip layout has, too. */
export function openClipText(
  text: z.infer<typeof openClipSchema>['model_cfg']['text_cfg'],
  { file, quick, prefix }: { file: string; quick: boolean; prefix: string },
): ClipTextConfig {
  // SigLIP's tokenizer is named here; the tower itself is open_clip's.
  const { hf_tokenizer_name: _, ...options } = text as Record<string, unknown>
  refuseOptions(file, 'text_cfg', options)
  if (!['linear', null].includes(text.proj_type))
    throw refusedOption(file, `text_cfg.proj_type ${JSON.stringify(text.proj_type)}`)
  const pools: Record<string, TextPool> = { argmax: 'argmax', first: 'first', last: 'last' }
  const pool = pools[text.pool_type]
  if (pool === undefined) throw refusedOption(file, `text_cfg.pool_type ${JSON.stringify(text.pool_type)}`)
  const shape: TransformerShape = {
    dim: text.width,
    heads: text.heads,
    hidden: Math.trunc(text.width * text.mlp_ratio),
    epsilon: openClipEpsilon(file, text.norm_kwargs),
    activation: openClipActivation(file, quick, text.act_kwargs),
    causal: !text.no_causal_mask,
  }
  assertHeads(file, 'text', shape)
  return {
    shape,
    depth: text.layers,
    vocabulary: text.vocab_size,
    length: text.context_length,
    pool,
    layerScale: text.ls_init_value !== null && text.ls_init_value !== undefined,
    projectionBias: text.proj_bias,
    prefix,
  }
}

/** Parses `open_clip_config.json`. Throws VtpError `bad_config` or `unsupported_option`. */
export function parseOpenClipConfig(raw: unknown, file: string): ClipConfig {
  const { model_cfg: model, preprocess_cfg: preprocess } = parseWith(openClipSchema, raw, file)
  const { vision_cfg: vision, text_cfg: text } = model
  refuseOptions(file, 'vision_cfg', vision)
  if (Array.isArray(vision.layers)) throw refusedOption(file, 'vision_cfg.layers as a list (a ResNet)')
  if (!['tok', 'avg'].includes(vision.pool_type))
    throw refusedOption(file, `vision_cfg.pool_type ${JSON.stringify(vision.pool_type)}`)
  const [height, wide] = pair(vision.image_size)
  const [patch, patchWidth] = pair(vision.patch_size)
  if (patch !== patchWidth) throw refusedOption(file, `vision_cfg.patch_size ${patch}×${patchWidth}`)
  const shape: TransformerShape = {
    dim: vision.width,
    heads: Math.floor(vision.width / vision.head_width),
    hidden: Math.trunc(vision.width * vision.mlp_ratio),
    epsilon: openClipEpsilon(file, vision.norm_kwargs),
    activation: openClipActivation(file, model.quick_gelu, vision.act_kwargs),
  }
  assertHeads(file, 'vision', shape)
  return {
    layout: 'open_clip',
    embedding: model.embed_dim,
    image: {
      shape,
      depth: vision.layers,
      patch,
      size: { height, width: wide },
      mean: preprocess.mean ?? CLIP_MEAN,
      std: preprocess.std ?? CLIP_STD,
      layerScale: vision.ls_init_value !== null && vision.ls_init_value !== undefined,
      preNorm: !vision.no_ln_pre,
      pool: vision.pool_type === 'avg' ? 'patches' : 'cls',
      normAfterPool: vision.final_ln_after_pool,
    },
    text: openClipText(text, { file, quick: model.quick_gelu, prefix: model.custom_text ? 'text.' : '' }),
    logitBias: model.init_logit_bias !== null && model.init_logit_bias !== undefined,
    resize: preprocess.resize_mode === 'squash' ? 'squash' : 'shortest',
    interpolation: preprocess.interpolation === 'bilinear' ? 'bilinear' : 'bicubic',
  }
}

function pair(value: number | readonly [number, number]): readonly [number, number] {
  return typeof value === 'number' ? [value, value] : value
}
