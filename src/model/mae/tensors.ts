/** Where the tensors of an MAE encoder are, in its authors' and in transformers' names. */
import { type BlockLayout, namedLayout, setLinear, setNorm, timmLayout } from '../blocks/layouts.js'
import type { Shapes } from '../check-tensors.js'
import type { MaeConfig } from './config.js'

export interface MaeNames {
  patch: string
  cls: string
  positions: string
  norm: string
  blocks: BlockLayout
}

/** The blocks of transformers' ViT; RAE's decoder has them, too. */
export function transformersVitLayout(prefix: string): BlockLayout {
  return namedLayout(prefix, {
    norm1: 'layernorm_before',
    norm2: 'layernorm_after',
    qkv: {
      q: 'attention.attention.query',
      k: 'attention.attention.key',
      v: 'attention.attention.value',
    },
    proj: 'attention.output.dense',
    up: 'intermediate.dense',
    down: 'output.dense',
  })
}

export function maeNames({ layout }: Pick<MaeConfig, 'layout'>): MaeNames {
  if (layout === 'original') {
    return {
      patch: 'patch_embed.proj',
      cls: 'cls_token',
      positions: 'pos_embed',
      norm: 'norm',
      blocks: timmLayout('blocks'),
    }
  }
  return {
    patch: 'vit.embeddings.patch_embeddings.projection',
    cls: 'vit.embeddings.cls_token',
    positions: 'vit.embeddings.position_embeddings',
    norm: 'vit.layernorm',
    blocks: transformersVitLayout('vit.encoder.layer'),
  }
}

export const FC_NORM = 'fc_norm'
export const HEAD = 'head'

export function maeShapes(config: MaeConfig): Shapes {
  const { shape, patch, side, classes } = config
  const { dim } = shape
  const names = maeNames(config)
  const out: Shapes = new Map()
  out.set(`${names.patch}.weight`, [dim, 3, patch, patch])
  out.set(`${names.patch}.bias`, [dim])
  out.set(names.cls, [1, 1, dim])
  out.set(names.positions, [1, 1 + side * side, dim])
  for (let i = 0; i < config.depth; i++) names.blocks.shapes(out, i, shape)
  if (classes === 0) setNorm(out, names.norm, dim)
  else {
    setNorm(out, FC_NORM, dim)
    setLinear(out, HEAD, classes, dim)
  }
  return out
}

/** What only reconstruction needs. */
export function isDecoderTensor(name: string): boolean {
  return /^(mask_token|decoder_|decoder\.|vit\.embeddings\.mask_token)/.test(name)
}
