/** Where the tensors of a CLIP checkpoint are, in open_clip's and in transformers' names. */
import { type BlockLayout, openClipLayout, setNorm, transformersClipLayout } from '../blocks/layouts.js'
import type { Shapes } from '../check-tensors.js'
import type { ClipConfig, ClipTextConfig } from './config.js'

/** Names of what is not in a block. */
export interface ClipNames {
  patch: string
  cls: string
  imagePositions: string
  preNorm: string
  imageNorm: string
  imageBlocks: BlockLayout
  imageProjection: string
  text: TextNames
  /** Whether projections are stored as [in, out] matrices instead of Linears. */
  bareProjections: boolean
}

export interface TextNames {
  tokens: string
  positions: string
  norm: string
  blocks: BlockLayout
  projection: string
}

/** The text tower's names in open_clip. */
export function openClipTextNames({ prefix, layerScale, projectionBias }: ClipTextConfig): TextNames {
  return {
    tokens: `${prefix}token_embedding.weight`,
    positions: `${prefix}positional_embedding`,
    norm: `${prefix}ln_final`,
    blocks: openClipLayout(`${prefix}transformer.resblocks`, layerScale),
    projection: projectionBias ? `${prefix}text_projection.weight` : `${prefix}text_projection`,
  }
}

export function clipNames({ layout, image, text }: ClipConfig): ClipNames {
  if (layout === 'open_clip') {
    return {
      patch: 'visual.conv1.weight',
      cls: 'visual.class_embedding',
      imagePositions: 'visual.positional_embedding',
      preNorm: 'visual.ln_pre',
      imageNorm: 'visual.ln_post',
      imageBlocks: openClipLayout('visual.transformer.resblocks', image.layerScale),
      imageProjection: 'visual.proj',
      text: openClipTextNames(text),
      bareProjections: true,
    }
  }
  return {
    patch: 'vision_model.embeddings.patch_embedding.weight',
    cls: 'vision_model.embeddings.class_embedding',
    imagePositions: 'vision_model.embeddings.position_embedding.weight',
    // Their spelling.
    preNorm: 'vision_model.pre_layrnorm',
    imageNorm: 'vision_model.post_layernorm',
    imageBlocks: transformersClipLayout('vision_model.encoder.layers'),
    imageProjection: 'visual_projection.weight',
    text: {
      tokens: 'text_model.embeddings.token_embedding.weight',
      positions: 'text_model.embeddings.position_embedding.weight',
      norm: 'text_model.final_layer_norm',
      blocks: transformersClipLayout('text_model.encoder.layers'),
      projection: 'text_projection.weight',
    },
    bareProjections: false,
  }
}

/** Shapes of the text tower's tensors. */
export function setTextShapes(
  out: Shapes,
  names: TextNames,
  text: ClipTextConfig,
  embedding: number,
  bare: boolean,
): void {
  const { dim } = text.shape
  out.set(names.tokens, [text.vocabulary, dim])
  out.set(names.positions, [text.length, dim])
  setNorm(out, names.norm, dim)
  for (let i = 0; i < text.depth; i++) names.blocks.shapes(out, i, text.shape)
  out.set(names.projection, bare && !text.projectionBias ? [dim, embedding] : [embedding, dim])
  if (text.projectionBias) out.set(names.projection.replace(/weight$/, 'bias'), [embedding])
}

/** Patches of the trained grid. */
export function trainedGrid({ image }: Pick<ClipConfig, 'image'>): { h: number; w: number } {
  return { h: Math.floor(image.size.height / image.patch), w: Math.floor(image.size.width / image.patch) }
}

/** Shapes of all tensors but the scalars of the logits, whose rank varies. */
export function clipShapes(config: ClipConfig): Shapes {
  const { image, text, embedding } = config
  const names = clipNames(config)
  const { dim } = image.shape
  const { h, w } = trainedGrid(config)
  const out: Shapes = new Map()
  out.set(names.patch, [dim, 3, image.patch, image.patch])
  out.set(names.cls, [dim])
  out.set(names.imagePositions, [1 + h * w, dim])
  if (image.preNorm) setNorm(out, names.preNorm, dim)
  for (let i = 0; i < image.depth; i++) names.imageBlocks.shapes(out, i, image.shape)
  setNorm(out, names.imageNorm, dim)
  out.set(names.imageProjection, names.bareProjections ? [dim, embedding] : [embedding, dim])
  setTextShapes(out, names.text, text, embedding, names.bareProjections)
  return out
}
