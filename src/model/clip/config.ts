/**
 * The configuration of a CLIP checkpoint in either layout, as one description. open_clip's `open_clip_config.json`
 * follows open_clip 3.3 (src/open_clip/model.py, CLIPVisionCfg and CLIPTextCfg); transformers' `config.json` follows
 * CLIPConfig of transformers 5. What this program does not build is refused by the option's name.
 */
import { z } from 'zod'
import { VtpError } from '../../errors.js'
import { CLIP_MEAN, CLIP_STD } from '../blocks/constants.js'
import type { TextPool } from '../blocks/text-tower.js'
import type { Activation, TransformerShape } from '../blocks/transformer.js'
import type { ImageSize } from '../image-model.js'

export type ClipLayout = 'open_clip' | 'transformers'

export interface ClipImageConfig {
  shape: TransformerShape
  depth: number
  patch: number
  size: ImageSize
  mean: readonly number[]
  std: readonly number[]
  layerScale: boolean
  preNorm: boolean
  /** `cls`: the class token; `patches`: the mean of the others. */
  pool: 'cls' | 'patches'
  /** Pool first, then the norm. */
  normAfterPool: boolean
}

export interface ClipTextConfig {
  shape: TransformerShape
  depth: number
  vocabulary: number
  length: number
  pool: TextPool
  layerScale: boolean
  projectionBias: boolean
  /** Prefix of the tower's tensors, `text.` where the model is open_clip's CustomTextCLIP. */
  prefix: string
}

export interface ClipConfig {
  layout: ClipLayout
  embedding: number
  image: ClipImageConfig
  text: ClipTextConfig
  logitBias: boolean
  /** Default preprocessing of the shorter side, `squash` resizes both. */
  resize: 'shortest' | 'squash'
  interpolation: 'bicubic' | 'bilinear'
}

/** No published tower comes near; a number beyond is a damaged or hostile file. */
const MOST_BLOCKS = 200
const MOST_WIDTH = 16_384
const count = z.int().positive().max(1_000_000)
const width = z.int().positive().max(MOST_WIDTH)
const depth = z.int().positive().max(MOST_BLOCKS)
const ratio = z.number().positive().max(64)
const sides = z.union([count, z.tuple([count, count])])
const kwargs = z.record(z.string(), z.unknown()).nullish()

const openClipSchema = z.object({
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

function bad(file: string, what: string): VtpError {
  return new VtpError(`${file}: ${what}`, { code: 'bad_config', exitCode: 2 })
}

function refused(file: string, what: string): VtpError {
  return new VtpError(`${file}: ${what} is not supported`, {
    code: 'unsupported_option',
    exitCode: 2,
    suggestions: ['docs/models.md lists the checkpoints that are supported'],
  })
}

function parse<T>(schema: z.ZodType<T>, raw: unknown, file: string): T {
  const parsed = schema.safeParse(raw)
  if (parsed.success) return parsed.data
  const issues = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ')
  throw bad(file, `values that CLIP does not know: ${issues}`)
}

function assertHeads(file: string, tower: string, { dim, heads }: TransformerShape): void {
  if (heads < 1 || dim % heads !== 0)
    throw bad(file, `the ${tower} width ${dim} is not a multiple of its ${heads} heads`)
}

function refuseOptions(file: string, section: string, values: Record<string, unknown>): void {
  for (const name of REFUSED) {
    const value = values[name]
    const off = value === undefined || value === null || value === false || value === 'default'
    if (!off && !HARMLESS.has(name)) throw refused(file, `${section}.${name} ${JSON.stringify(value)}`)
  }
}

function openClipActivation(
  file: string,
  quick: boolean,
  settings: Record<string, unknown> | null | undefined,
): Activation {
  const other = Object.keys(settings ?? {}).find((name) => name !== 'approximate')
  if (other !== undefined) throw refused(file, `act_kwargs.${other}`)
  const approximate = settings?.approximate ?? 'none'
  if (approximate !== 'none' && approximate !== 'tanh') throw refused(file, `act_kwargs.approximate ${approximate}`)
  if (quick) return 'quick-gelu'
  return approximate === 'tanh' ? 'gelu-tanh' : 'gelu'
}

function openClipEpsilon(file: string, settings: Record<string, unknown> | null | undefined): number {
  const other = Object.keys(settings ?? {}).find((name) => name !== 'eps')
  if (other !== undefined) throw refused(file, `norm_kwargs.${other}`)
  const epsilon = settings?.eps ?? 1e-5
  if (typeof epsilon !== 'number' || !(epsilon > 0)) throw bad(file, `norm_kwargs.eps ${JSON.stringify(epsilon)}`)
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
    throw refused(file, `text_cfg.proj_type ${JSON.stringify(text.proj_type)}`)
  const pools: Record<string, TextPool> = { argmax: 'argmax', first: 'first', last: 'last' }
  const pool = pools[text.pool_type]
  if (pool === undefined) throw refused(file, `text_cfg.pool_type ${JSON.stringify(text.pool_type)}`)
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
  const { model_cfg: model, preprocess_cfg: preprocess } = parse(openClipSchema, raw, file)
  const { vision_cfg: vision, text_cfg: text } = model
  refuseOptions(file, 'vision_cfg', vision)
  if (Array.isArray(vision.layers)) throw refused(file, 'vision_cfg.layers as a list (a ResNet)')
  if (!['tok', 'avg'].includes(vision.pool_type))
    throw refused(file, `vision_cfg.pool_type ${JSON.stringify(vision.pool_type)}`)
  const [height, wide] = pair(vision.image_size)
  const [patch, patchWidth] = pair(vision.patch_size)
  if (patch !== patchWidth) throw refused(file, `vision_cfg.patch_size ${patch}×${patchWidth}`)
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

const ACTIVATIONS: Record<string, Activation> = {
  quick_gelu: 'quick-gelu',
  gelu: 'gelu',
  gelu_new: 'gelu-tanh',
  gelu_pytorch_tanh: 'gelu-tanh',
}
const activation = z.enum(Object.keys(ACTIVATIONS) as [string, ...string[]])

const towerSchema = z.object({
  num_hidden_layers: depth.default(12),
  hidden_act: activation.default('quick_gelu'),
  layer_norm_eps: z.number().positive().default(1e-5),
})

const transformersSchema = z.object({
  projection_dim: width.default(512),
  vision_config: towerSchema
    .extend({
      hidden_size: width.default(768),
      intermediate_size: count.default(3072),
      num_attention_heads: width.default(12),
      num_channels: z.literal(3).default(3),
      image_size: count.default(224),
      patch_size: count.default(32),
    })
    .prefault({}),
  text_config: towerSchema
    .extend({
      hidden_size: width.default(512),
      intermediate_size: count.default(2048),
      num_attention_heads: width.default(8),
      max_position_embeddings: count.default(77),
      vocab_size: count.default(49408),
      eos_token_id: z.int().nonnegative().default(49407),
    })
    .prefault({}),
})

/** Mean and deviation of a `preprocessor_config.json`, where there is one. */
const preprocessorSchema = z.object({
  image_mean: z.array(z.number()).length(3).optional(),
  image_std: z.array(z.number().positive()).length(3).optional(),
})

/** Parses transformers' `config.json`. Throws VtpError `bad_config`. */
export function parseTransformersConfig(raw: unknown, preprocessor: unknown, file: string): ClipConfig {
  const config = parse(transformersSchema, raw, file)
  const { vision_config: vision, text_config: text } = config
  const shapeOf = (tower: typeof vision | typeof text): TransformerShape => ({
    dim: tower.hidden_size,
    heads: tower.num_attention_heads,
    hidden: tower.intermediate_size,
    epsilon: tower.layer_norm_eps,
    activation: ACTIVATIONS[tower.hidden_act]!,
  })
  const [imageShape, textShape] = [shapeOf(vision), { ...shapeOf(text), causal: true }]
  assertHeads(file, 'vision', imageShape)
  assertHeads(file, 'text', textShape)
  const constants = parse(
    preprocessorSchema,
    preprocessor ?? {},
    file.replace('config.json', 'preprocessor_config.json'),
  )
  return {
    layout: 'transformers',
    embedding: config.projection_dim,
    image: {
      shape: imageShape,
      depth: vision.num_hidden_layers,
      patch: vision.patch_size,
      size: { height: vision.image_size, width: vision.image_size },
      mean: constants.image_mean ?? CLIP_MEAN,
      std: constants.image_std ?? CLIP_STD,
      layerScale: false,
      preNorm: true,
      pool: 'cls',
      normAfterPool: false,
    },
    text: {
      shape: textShape,
      depth: text.num_hidden_layers,
      vocabulary: text.vocab_size,
      length: text.max_position_embeddings,
      // Files from before the end token was stored say 2 and mean the largest id.
      pool: text.eos_token_id === 2 ? 'argmax' : { firstOf: text.eos_token_id },
      layerScale: false,
      projectionBias: false,
      prefix: '',
    },
    logitBias: false,
    resize: 'shortest',
    interpolation: 'bicubic',
  }
}

function pair(value: number | readonly [number, number]): readonly [number, number] {
  return typeof value === 'number' ? [value, value] : value
}
