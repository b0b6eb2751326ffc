/**
 * A fresh model with head: the laws of the official training class (vtp/models/vtp.py and what it builds) as measured
 * right after it is made. Every value is a function of (seed, tensor, element), by Philox. The text tower's biases are
 * PyTorch's: attention 0, the MLP uniform.
 */
import { roundToBfloat16 } from '../math/half.js'
import type { VtpConfig } from '../model/vtp/config.js'
import { normals, STREAMS, uniforms } from '../train/streams.js'
import type { PretrainRecipe } from './recipe.js'
import { HEAD, type Shapes } from './state.js'

const SIGMA = 0.02
const ROPE_BASE = 100
const CLIP_SCALE = Math.log(1 / 0.07)
const SIGLIP_SCALE = Math.log(10)

type Law = { constant: number } | { normal: number } | { uniform: number }

const fanIn = (shape: readonly number[]): number => shape.slice(1).reduce((a, b) => a * b, 1)

function textLaw(name: string, shape: readonly number[], config: VtpConfig): Law | undefined {
  const width = config.text_embed_dim
  if (name === 'token_embedding.weight') return { normal: 0.02 }
  if (name === 'positional_embedding') return { normal: 0.01 }
  if (name.startsWith('text_projection'))
    return name.endsWith('.bias') ? { uniform: width ** -0.5 } : { normal: width ** -0.5 }
  if (!name.startsWith('text_transformer.')) return undefined
  const outputs = width ** -0.5 * (2 * config.text_depth) ** -0.5
  if (name.endsWith('attn.in_proj_weight')) return { normal: width ** -0.5 }
  if (/(attn\.out_proj|mlp\.c_proj)\.weight$/.test(name)) return { normal: outputs }
  if (name.endsWith('mlp.c_fc.weight')) return { normal: (2 * width) ** -0.5 }
  if (name.endsWith('mlp.c_fc.bias')) return { uniform: width ** -0.5 }
  if (name.endsWith('mlp.c_proj.bias')) return { uniform: Math.trunc(width * config.text_mlp_ratio) ** -0.5 }
  if (name.endsWith('.gamma')) return { constant: config.text_ls_init_value ?? 1 }
  return shape.length === 1 ? norm(name) : undefined
}

const norm = (name: string): Law => ({ constant: name.endsWith('.bias') || name.endsWith('_bias') ? 0 : 1 })

function lawOf(name: string, shape: readonly number[], config: VtpConfig, siglip: boolean): Law {
  const text = textLaw(name, shape, config)
  if (text) return text
  if (name === 'logit_scale') return { constant: config.init_logit_scale ?? (siglip ? SIGLIP_SCALE : CLIP_SCALE) }
  if (name === 'logit_bias') return { constant: config.init_logit_bias ?? 0 }
  if (name === 'visual_proj.weight') return { uniform: fanIn(shape) ** -0.5 }
  if (name === 'trunk.mask_token') return { constant: 0 }
  if (name === 'trunk.cls_token') return { normal: SIGMA }
  if (name.startsWith('trunk.patch_embed.')) return { uniform: (3 * config.vision_patch_size ** 2) ** -0.5 }
  if (name.endsWith('last_layer.weight_v')) return { uniform: fanIn(shape) ** -0.5 }
  if (name.endsWith('last_layer.weight_g')) return { constant: 1 }
  if (name.endsWith('.gamma'))
    return { constant: (name.startsWith('trunk.') ? config.vision_init_values : config.decoder_init_values) ?? 1 }
  return shape.length === 1 ? norm(name) : { normal: SIGMA }
}

/** Shapes of `dino_head.*`: an MLP from `width` over `hidden` to `bottleneck`, and K prototypes under weight norm. */
export function headShapes(width: number, { layers, hidden, bottleneck, K }: PretrainRecipe['config']['head']): Shapes {
  const shapes = new Map<string, readonly number[]>()
  for (let i = 0; i < layers; i++) {
    const name = layers === 1 ? 'mlp' : `mlp.${2 * i}`
    const [from, to] = [i === 0 ? width : hidden, i === layers - 1 ? bottleneck : hidden]
    shapes.set(`${HEAD}${name}.weight`, [to, from])
    shapes.set(`${HEAD}${name}.bias`, [to])
  }
  shapes.set(`${HEAD}last_layer.weight_g`, [K, 1])
  shapes.set(`${HEAD}last_layer.weight_v`, [K, bottleneck])
  return shapes
}

/** RoPE's periods of a head of `width`: 100^(i / n), in bfloat16 as the official buffers are. */
export function ropePeriods(width: number, rope: PretrainRecipe['config']['rope']): Float32Array {
  const n = width / 4
  const round = rope === 'bf16' ? roundToBfloat16 : Math.fround
  return Float32Array.from({ length: n }, (_, i) => round(ROPE_BASE ** (i / n)))
}

export interface FreshSettings {
  config: VtpConfig
  siglip: boolean
  seed: number
}

/** The first value of a tensor; `index` is its number among all that are drawn, and decides what is drawn. */
export function freshTensor(
  name: string,
  shape: readonly number[],
  index: number,
  { config, siglip, seed }: FreshSettings,
): Float32Array {
  const count = shape.reduce((a, b) => a * b, 1)
  const law = lawOf(name, shape, config, siglip)
  if ('constant' in law) return new Float32Array(count).fill(law.constant)
  if ('normal' in law) return normals(seed, STREAMS.init, index, count).map((value) => value * law.normal)
  const out = new Float32Array(count)
  for (let i = 0; i < count; i += 2) {
    const [u, v] = uniforms(seed, STREAMS.init, index, i / 2)
    out[i] = (2 * u - 1) * law.uniform
    if (i + 1 < count) out[i + 1] = (2 * v - 1) * law.uniform
  }
  return out
}
