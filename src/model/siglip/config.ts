/**
 * The configuration of a SigLIP checkpoint in either layout, as one description. transformers: `config.json` with
 * model_type siglip (SigLIP 2 of a fixed size, too). open_clip: `open_clip_config.json` whose image tower is timm's,
 * known by its name (timm 1.0, timm/models/vision_transformer.py). Both give other activations: transformers uses the
 * tanh approximation throughout, timm the exact GELU where its table says nothing else.
 */
import * as z from 'zod'
import { VtpError } from '../../errors.js'
import { HALF } from '../blocks/constants.js'
import type { Activation, TransformerShape } from '../blocks/transformer.js'
import { assertHeads, badConfig, type ClipTextConfig, LIMITS, parseWith, refusedOption } from '../clip/config.js'
import { openClipSchema, openClipText } from '../clip/open-clip-config.js'

export interface SiglipConfig {
  layout: 'open_clip' | 'transformers'
  /** Of the image tower; the text tower's projection is as long. */
  shape: TransformerShape
  depth: number
  patch: number
  size: number
  mean: readonly number[]
  std: readonly number[]
  /** Whether there is an attention pooling head, and so an embedding. */
  head: boolean
  embedding: number
  text: ClipTextConfig
}

const { count, width, depth, ratio } = LIMITS

const ACTIVATIONS: Record<string, Activation> = {
  gelu: 'gelu',
  gelu_new: 'gelu-tanh',
  gelu_pytorch_tanh: 'gelu-tanh',
  gelu_tanh: 'gelu-tanh',
  quick_gelu: 'quick-gelu',
}
const activation = z.enum(Object.keys(ACTIVATIONS) as [string, ...string[]])

const towerSchema = z.object({
  hidden_size: width.default(768),
  intermediate_size: count.default(3072),
  num_hidden_layers: depth.default(12),
  num_attention_heads: width.default(12),
  hidden_act: activation.default('gelu_pytorch_tanh'),
  layer_norm_eps: z.number().positive().default(1e-6),
})

const transformersSchema = z.object({
  vision_config: towerSchema
    .extend({
      num_channels: z.literal(3).default(3),
      image_size: count.default(224),
      patch_size: count.default(16),
      vision_use_head: z.boolean().default(true),
    })
    .prefault({}),
  text_config: towerSchema
    .extend({
      max_position_embeddings: count.default(64),
      vocab_size: count.default(32000),
      projection_size: width.nullish(),
    })
    .prefault({}),
})

const preprocessorSchema = z.object({
  image_mean: z.array(z.number()).length(3).optional(),
  image_std: z.array(z.number().positive()).length(3).optional(),
})

/** Parses transformers' `config.json`. Throws VtpError `bad_config`. */
export function parseTransformersConfig(raw: unknown, preprocessor: unknown, file: string): SiglipConfig {
  const { vision_config: vision, text_config: text } = parseWith(transformersSchema, raw, file)
  const shapeOf = (tower: z.infer<typeof towerSchema>): TransformerShape => ({
    dim: tower.hidden_size,
    heads: tower.num_attention_heads,
    hidden: tower.intermediate_size,
    epsilon: tower.layer_norm_eps,
    activation: ACTIVATIONS[tower.hidden_act]!,
  })
  const [shape, textShape] = [shapeOf(vision), shapeOf(text)]
  assertHeads(file, 'vision', shape)
  assertHeads(file, 'text', textShape)
  const projection = text.projection_size ?? text.hidden_size
  if (projection !== shape.dim)
    throw badConfig(file, `the text projection has ${projection} values, the image embedding ${shape.dim}`)
  const constants = parseWith(preprocessorSchema, preprocessor ?? {}, file)
  return {
    layout: 'transformers',
    shape,
    depth: vision.num_hidden_layers,
    patch: vision.patch_size,
    size: vision.image_size,
    mean: constants.image_mean ?? HALF,
    std: constants.image_std ?? HALF,
    head: vision.vision_use_head,
    embedding: shape.dim,
    text: {
      shape: textShape,
      depth: text.num_hidden_layers,
      vocabulary: text.vocab_size,
      length: text.max_position_embeddings,
      pool: 'last',
      layerScale: false,
      projectionBias: true,
      prefix: '',
    },
  }
}

interface TimmTower {
  dim: number
  depth: number
  heads: number
  ratio: number
}

/** timm's towers by the start of their names. */
const TOWERS: [RegExp, TimmTower][] = [
  [/^vit_base_/, { dim: 768, depth: 12, heads: 12, ratio: 4 }],
  [/^vit_large_/, { dim: 1024, depth: 24, heads: 16, ratio: 4 }],
  [/^vit_so400m_/, { dim: 1152, depth: 27, heads: 16, ratio: 3.7362 }],
  [/^vit_giantopt_/, { dim: 1536, depth: 40, heads: 16, ratio: 4 }],
]

/** Where timm's table says gelu_tanh. */
const TANH = /^vit_(so400m_patch16|giantopt|base_patch32|large_patch16_siglip_512)/

const timmKwargs = z
  .object({
    patch_size: count.optional(),
    embed_dim: width.optional(),
    depth: depth.optional(),
    num_heads: width.optional(),
    mlp_ratio: ratio.optional(),
    act_layer: activation.optional(),
  })
  .prefault({})

/** Parses `open_clip_config.json`. Throws VtpError `bad_config` or `unsupported_option`. */
export function parseOpenClipConfig(raw: unknown, file: string): SiglipConfig {
  const { model_cfg: model, preprocess_cfg: preprocess } = parseWith(openClipSchema, raw, file)
  const vision = model.vision_cfg as Record<string, unknown>
  const name = String(vision.timm_model_name)
  const known = TOWERS.find(([pattern]) => pattern.test(name))?.[1]
  const patch = /_patch(\d+)_siglip/.exec(name)?.[1]
  if (!known || patch === undefined || name.includes('_gap_')) throw refusedOption(file, `timm_model_name ${name}`)
  if ((vision.timm_pool ?? 'map') !== 'map') throw refusedOption(file, `timm_pool ${JSON.stringify(vision.timm_pool)}`)
  if (!['none', '', null, undefined].includes(vision.timm_proj as string))
    throw refusedOption(file, `timm_proj ${JSON.stringify(vision.timm_proj)}`)
  const kwargs = parseWith(timmKwargs, vision.timm_kwargs ?? {}, file)
  const dim = kwargs.embed_dim ?? known.dim
  const shape: TransformerShape = {
    dim,
    heads: kwargs.num_heads ?? known.heads,
    hidden: Math.trunc(dim * (kwargs.mlp_ratio ?? known.ratio)),
    epsilon: 1e-6,
    activation: kwargs.act_layer ? ACTIVATIONS[kwargs.act_layer]! : TANH.test(name) ? 'gelu-tanh' : 'gelu',
  }
  assertHeads(file, 'vision', shape)
  if (model.embed_dim !== dim) throw badConfig(file, `embed_dim ${model.embed_dim} is not the tower's width ${dim}`)
  const { image_size: size } = model.vision_cfg
  if (typeof size !== 'number') throw refusedOption(file, `vision_cfg.image_size ${JSON.stringify(size)}`)
  return {
    layout: 'open_clip',
    shape,
    depth: kwargs.depth ?? known.depth,
    patch: kwargs.patch_size ?? Number(patch),
    size,
    mean: preprocess.mean ?? HALF,
    std: preprocess.std ?? HALF,
    head: true,
    embedding: model.embed_dim,
    text: openClipText(model.text_cfg, { file, quick: model.quick_gelu, prefix: 'text.' }),
  }
}

/** SigLIP 2 of variable size. */
export function naflex(file: string): VtpError {
  return new VtpError(`${file}: SigLIP 2 of variable size (NaFlex) is not supported`, {
    code: 'unsupported_option',
    exitCode: 2,
    suggestions: ['use one of a fixed size, e.g. google/siglip2-base-patch16-256'],
  })
}
