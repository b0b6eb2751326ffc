/**
 * The tensors that a configuration implies, by their official state-dict names. What is missing, extra or
 * of another shape in a checkpoint is reported in one error.
 */
import type { StoredTensor } from '../../io/weights.js'
import { checkTensors as checkShapes } from '../check-tensors.js'
import {
  DECODER_MLP_RATIO,
  DECODER_UPSCALE,
  type FfnKind,
  ffnWidth,
  hasBottleneck,
  latentChannels,
  type NormKind,
  textLength,
  type VtpConfig,
} from './config.js'

/** Shapes by name. */
export type Shapes = Map<string, number[]>

/** Size and options of the transformer shared by the vision tower and the pixel decoder. */
export interface VitShape {
  prefix: 'trunk' | 'pixel_decoder'
  dim: number
  depth: number
  heads: number
  ffn: FfnKind
  ffnWidth: number
  norm: NormKind
  layerScale: boolean
  qkNorm: boolean
}

export function visionShape(config: VtpConfig): VitShape {
  return {
    prefix: 'trunk',
    dim: config.vision_embed_dim,
    depth: config.vision_depth,
    heads: config.vision_num_heads,
    ffn: config.vision_ffn_layer,
    ffnWidth: ffnWidth(config.vision_ffn_layer, config.vision_embed_dim, config.vision_mlp_ratio),
    norm: config.vision_norm_layer,
    // 0.0 and null both mean no LayerScale here; in the text tower 0.0 makes one.
    layerScale: Boolean(config.vision_init_values),
    qkNorm: config.vision_use_qk_norm,
  }
}

export function decoderShape(config: VtpConfig): VitShape {
  return {
    prefix: 'pixel_decoder',
    dim: config.decoder_embed_dim,
    depth: config.decoder_depth,
    heads: config.decoder_num_heads,
    ffn: config.decoder_ffn_layer,
    ffnWidth: ffnWidth(config.decoder_ffn_layer, config.decoder_embed_dim, DECODER_MLP_RATIO),
    norm: config.decoder_norm_layer,
    layerScale: Boolean(config.decoder_init_values),
    qkNorm: config.decoder_use_qk_norm,
  }
}

function linear(shapes: Shapes, name: string, out: number, inner: number): void {
  shapes.set(`${name}.weight`, [out, inner])
  shapes.set(`${name}.bias`, [out])
}

function norm(shapes: Shapes, name: string, dim: number, kind: NormKind): void {
  shapes.set(`${name}.weight`, [dim])
  if (kind !== 'rmsnorm') shapes.set(`${name}.bias`, [dim])
}

function vit(shapes: Shapes, shape: VitShape): void {
  const { prefix, dim, heads } = shape
  for (let i = 0; i < shape.depth; i++) {
    const block = `${prefix}.blocks.${i}`
    norm(shapes, `${block}.norm1`, dim, shape.norm)
    linear(shapes, `${block}.attn.qkv`, 3 * dim, dim)
    linear(shapes, `${block}.attn.proj`, dim, dim)
    if (shape.qkNorm) {
      shapes.set(`${block}.attn.q_norm.weight`, [dim / heads])
      shapes.set(`${block}.attn.k_norm.weight`, [dim / heads])
    }
    if (shape.layerScale) for (const ls of ['ls1', 'ls2']) shapes.set(`${block}.${ls}.gamma`, [dim])
    norm(shapes, `${block}.norm2`, dim, shape.norm)
    const layers = shape.ffn === 'mlp' ? ['fc1', 'fc2'] : ['w1', 'w2', 'w3']
    for (const layer of layers) {
      const down = layer === 'fc2' || layer === 'w3'
      linear(shapes, `${block}.mlp.${layer}`, down ? dim : shape.ffnWidth, down ? shape.ffnWidth : dim)
    }
  }
  norm(shapes, `${prefix}.norm`, dim, shape.norm)
  shapes.set(`${prefix}.rope_embed.periods`, [dim / heads / 4])
}

function text(shapes: Shapes, config: VtpConfig): void {
  const dim = config.text_embed_dim
  const width = Math.trunc(dim * config.text_mlp_ratio)
  for (let i = 0; i < config.text_depth; i++) {
    const block = `text_transformer.resblocks.${i}`
    for (const ln of ['ln_1', 'ln_2']) norm(shapes, `${block}.${ln}`, dim, 'layernorm')
    shapes.set(`${block}.attn.in_proj_weight`, [3 * dim, dim])
    shapes.set(`${block}.attn.in_proj_bias`, [3 * dim])
    linear(shapes, `${block}.attn.out_proj`, dim, dim)
    linear(shapes, `${block}.mlp.c_fc`, width, dim)
    linear(shapes, `${block}.mlp.c_proj`, dim, width)
    if (config.text_ls_init_value !== null) for (const ls of ['ls_1', 'ls_2']) shapes.set(`${block}.${ls}.gamma`, [dim])
  }
  shapes.set('token_embedding.weight', [config.text_vocab_size, dim])
  shapes.set('positional_embedding', [textLength(config), dim])
  norm(shapes, 'ln_final', dim, 'layernorm')
  if (config.text_proj_type !== 'none') {
    if (config.text_proj_bias) linear(shapes, 'text_projection', dim, dim)
    else shapes.set('text_projection', [dim, dim])
  }
  const scalar = config.nonscalar_logit_scale ? [1] : []
  shapes.set('logit_scale', scalar)
  if (config.init_logit_bias !== null) shapes.set('logit_bias', scalar)
}

/** All tensors of a checkpoint with this configuration. */
export function expectedTensors(config: VtpConfig): Shapes {
  const shapes: Shapes = new Map()
  const dim = config.vision_embed_dim
  const channels = latentChannels(config)
  shapes.set('trunk.cls_token', [1, 1, dim])
  shapes.set('trunk.mask_token', [1, dim])
  shapes.set('trunk.patch_embed.proj.weight', [dim, 3, config.vision_patch_size, config.vision_patch_size])
  shapes.set('trunk.patch_embed.proj.bias', [dim])
  vit(shapes, visionShape(config))
  if (hasBottleneck(config)) shapes.set('trunk.feature_bottleneck.weight', [channels, dim])
  if (config.train_clip) {
    const input = config.vision_bottleneck_ae_only ? dim : channels
    shapes.set('visual_proj.weight', [config.text_embed_dim, input])
    text(shapes, config)
  }
  if (config.train_reconstruction) {
    const decoder = decoderShape(config)
    vit(shapes, decoder)
    shapes.set('pixel_decoder.proj_in.weight', [decoder.dim, channels, 1, 1])
    shapes.set('pixel_decoder.proj_in.bias', [decoder.dim])
    shapes.set('pixel_decoder.proj_out.weight', [3 * DECODER_UPSCALE ** 2, decoder.dim, 1, 1])
    shapes.set('pixel_decoder.proj_out.bias', [3 * DECODER_UPSCALE ** 2])
  }
  return shapes
}

/** The text tower's causal mask: a buffer that some versions save; it follows from the configuration. */
const IGNORED = /^(attn_mask|text_transformer\.attn_mask)$/

/** Throws VtpError `bad_checkpoint` that names every missing, extra and mis-shaped tensor. */
export function checkTensors(config: VtpConfig, tensors: ReadonlyMap<string, StoredTensor>, folder: string): void {
  checkShapes(expectedTensors(config), tensors, { place: folder, ignored: (name) => IGNORED.test(name) })
}
