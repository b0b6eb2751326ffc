/**
 * The configuration of a CLIP checkpoint, one description for both layouts of its files, and transformers' own
 * (`config.json`, CLIPConfig of transformers 5). open_clip's is in open-clip-config.ts.
 */
import * as z from 'zod'
import { VtpError } from '../../errors.js'
import { CLIP_MEAN, CLIP_STD } from '../blocks/constants.js'
import type { TextPool } from '../blocks/text-tower.js'
import type { Activation, TransformerShape } from '../blocks/transformer.js'
import { MOST_BLOCKS, MOST_WIDTH } from '../config-limits.js'
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
export const LIMITS = {
  count: z.int().positive().max(1_000_000),
  width: z.int().positive().max(MOST_WIDTH),
  depth: z.int().positive().max(MOST_BLOCKS),
  ratio: z.number().positive().max(64),
}
const { count, width, depth } = LIMITS

export function badConfig(file: string, what: string): VtpError {
  return new VtpError(`${file}: ${what}`, { code: 'bad_config', exitCode: 2 })
}

export function refusedOption(file: string, what: string): VtpError {
  return new VtpError(`${file}: ${what} is not supported`, {
    code: 'unsupported_option',
    exitCode: 2,
    suggestions: ['docs/models.md lists the checkpoints that are supported'],
  })
}

export function parseWith<T>(schema: z.ZodType<T>, raw: unknown, file: string): T {
  const parsed = schema.safeParse(raw)
  if (parsed.success) return parsed.data
  const issues = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ')
  throw badConfig(file, `values that are not supported: ${issues}`)
}

export function assertHeads(file: string, tower: string, { dim, heads }: TransformerShape): void {
  if (heads < 1 || dim % heads !== 0)
    throw badConfig(file, `the ${tower} width ${dim} is not a multiple of its ${heads} heads`)
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
  const config = parseWith(transformersSchema, raw, file)
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
  const constants = parseWith(
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
