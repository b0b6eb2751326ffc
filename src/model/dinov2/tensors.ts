/** Where the tensors of a DINOv2 checkpoint are, in the hub's and in transformers' names. */
import { type BlockLayout, namedLayout, setNorm, timmLayout } from '../blocks/layouts.js'
import type { Shapes } from '../check-tensors.js'
import type { Dinov2Config } from './config.js'

export interface Dinov2Names {
  patch: string
  cls: string
  registers: string
  mask: string
  positions: string
  norm: string
  blocks: BlockLayout
}

export function dinov2Names({ layout, shape }: Dinov2Config): Dinov2Names {
  const swiglu = shape.activation === 'swiglu'
  if (layout === 'hub') {
    return {
      patch: 'patch_embed.proj',
      cls: 'cls_token',
      registers: 'register_tokens',
      mask: 'mask_token',
      positions: 'pos_embed',
      norm: 'norm',
      blocks: timmLayout('blocks', { layerScale: true, packedSwiglu: swiglu }),
    }
  }
  return {
    patch: 'embeddings.patch_embeddings.projection',
    cls: 'embeddings.cls_token',
    registers: 'embeddings.register_tokens',
    mask: 'embeddings.mask_token',
    positions: 'embeddings.position_embeddings',
    norm: 'layernorm',
    blocks: namedLayout('encoder.layer', {
      norm1: 'norm1',
      norm2: 'norm2',
      qkv: {
        q: 'attention.attention.query',
        k: 'attention.attention.key',
        v: 'attention.attention.value',
      },
      proj: 'attention.output.dense',
      up: swiglu ? 'mlp.weights_in' : 'mlp.fc1',
      packedUp: swiglu,
      down: swiglu ? 'mlp.weights_out' : 'mlp.fc2',
      scales: ['layer_scale1.lambda1', 'layer_scale2.lambda1'],
    }),
  }
}

export function dinov2Shapes(config: Dinov2Config): Shapes {
  const { shape, patch, side, registers } = config
  const { dim } = shape
  const names = dinov2Names(config)
  const out: Shapes = new Map()
  out.set(`${names.patch}.weight`, [dim, 3, patch, patch])
  out.set(`${names.patch}.bias`, [dim])
  out.set(names.cls, [1, 1, dim])
  if (config.maskToken) out.set(names.mask, [1, dim])
  if (registers > 0) out.set(names.registers, [1, registers, dim])
  out.set(names.positions, [1, 1 + side * side, dim])
  for (let i = 0; i < config.depth; i++) names.blocks.shapes(out, i, shape)
  setNorm(out, names.norm, dim)
  return out
}
