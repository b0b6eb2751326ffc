/** Where the tensors of a SigLIP checkpoint are, in transformers' names and in those of open_clip with timm. */
import { type BlockLayout, setLinear, setNorm, timmLayout, transformersClipLayout } from '../blocks/layouts.js'
import type { Shapes } from '../check-tensors.js'
import { openClipTextNames, setTextShapes, type TextNames } from '../clip/tensors.js'
import type { SiglipConfig } from './config.js'

export interface SiglipNames {
  patch: string
  positions: string
  blocks: BlockLayout
  norm: string
  head: HeadNames
  text: TextNames
}

/** The attention pooling head. q, k and v are stacked in one, or q by itself and k with v. */
export interface HeadNames {
  probe: string
  q: [weight: string, bias: string, at: number, parts: number]
  k: [weight: string, bias: string, at: number, parts: number]
  v: [weight: string, bias: string, at: number, parts: number]
  proj: string
  norm: string
  up: string
  down: string
}

export function siglipNames(config: SiglipConfig): SiglipNames {
  if (config.layout === 'open_clip') {
    const pool = 'visual.trunk.attn_pool'
    return {
      patch: 'visual.trunk.patch_embed.proj',
      positions: 'visual.trunk.pos_embed',
      blocks: timmLayout('visual.trunk.blocks'),
      norm: 'visual.trunk.norm',
      head: {
        probe: `${pool}.latent`,
        q: [`${pool}.q.weight`, `${pool}.q.bias`, 0, 1],
        k: [`${pool}.kv.weight`, `${pool}.kv.bias`, 0, 2],
        v: [`${pool}.kv.weight`, `${pool}.kv.bias`, 1, 2],
        proj: `${pool}.proj`,
        norm: `${pool}.norm`,
        up: `${pool}.mlp.fc1`,
        down: `${pool}.mlp.fc2`,
      },
      text: openClipTextNames(config.text),
    }
  }
  const head = 'vision_model.head'
  const packed = [`${head}.attention.in_proj_weight`, `${head}.attention.in_proj_bias`] as const
  return {
    patch: 'vision_model.embeddings.patch_embedding',
    positions: 'vision_model.embeddings.position_embedding.weight',
    blocks: transformersClipLayout('vision_model.encoder.layers'),
    norm: 'vision_model.post_layernorm',
    head: {
      probe: `${head}.probe`,
      q: [...packed, 0, 3],
      k: [...packed, 1, 3],
      v: [...packed, 2, 3],
      proj: `${head}.attention.out_proj`,
      norm: `${head}.layernorm`,
      up: `${head}.mlp.fc1`,
      down: `${head}.mlp.fc2`,
    },
    text: {
      tokens: 'text_model.embeddings.token_embedding.weight',
      positions: 'text_model.embeddings.position_embedding.weight',
      norm: 'text_model.final_layer_norm',
      blocks: transformersClipLayout('text_model.encoder.layers'),
      projection: 'text_model.head.weight',
    },
  }
}

/** Patches per side of the trained grid: 384 by 14 are 27. */
export function trainedSide({ size, patch }: SiglipConfig): number {
  return Math.floor(size / patch)
}

/** Shapes of the image tower's tensors. */
export function siglipImageShapes(config: SiglipConfig): Shapes {
  const { shape, patch, layout } = config
  const { dim, hidden } = shape
  const names = siglipNames(config)
  const places = trainedSide(config) ** 2
  const out: Shapes = new Map()
  out.set(`${names.patch}.weight`, [dim, 3, patch, patch])
  out.set(`${names.patch}.bias`, [dim])
  out.set(names.positions, layout === 'open_clip' ? [1, places, dim] : [places, dim])
  for (let i = 0; i < config.depth; i++) names.blocks.shapes(out, i, shape)
  setNorm(out, names.norm, dim)
  if (!config.head) return out
  const { head } = names
  out.set(head.probe, [1, 1, dim])
  for (const [weight, bias, , parts] of [head.q, head.k, head.v]) {
    out.set(weight, [parts * dim, dim])
    out.set(bias, [parts * dim])
  }
  setLinear(out, head.proj, dim, dim)
  setNorm(out, head.norm, dim)
  setLinear(out, head.up, hidden, dim)
  setLinear(out, head.down, dim, hidden)
  return out
}

/** Shapes of all tensors but the scalars of the logits, whose rank varies. */
export function siglipShapes(config: SiglipConfig): Shapes {
  const out = siglipImageShapes(config)
  setTextShapes(out, siglipNames(config).text, config.text, config.embedding, config.layout === 'open_clip')
  return out
}
