/**
 * A UniTok checkpoint: one pickle of {`args`, `trainer`: {`unitok`: tensors}}. Sizes are read off the tensors; `args`
 * say what shapes do not. Reference: FoundationVision/UniTok bb8012e, models/unitok.py and models/vitamin.py.
 */
import { openTorchFile } from '../../io/torch/file.js'
import type { StoredTensor } from '../../io/weights.js'
import { countBlocks } from '../blocks/torch-claim.js'
import type { TransformerShape } from '../blocks/transformer.js'
import { assertHeads, badConfig, type ClipTextConfig } from '../clip/config.js'

export interface UnitokConfig {
  /** Of the encoder's blocks, and of the decoder's. */
  shape: TransformerShape
  encoderDepth: number
  decoderDepth: number
  /** Tokens in front that stay to the end; the decoder drops them. */
  queries: number
  size: number
  /** Channels of a latent, all codebooks together. */
  width: number
  codebooks: number
  /** Entries of one codebook. */
  entries: number
  projection: 'linear' | 'attn'
  embedding: number
  text: ClipTextConfig
}

/** What a token stands for: four strided convolutions. */
export const FACTOR = 16

/** Heads of the two ViTamins; their heads have 64 channels, those of smaller ones (for tests) 16. */
const HEADS: Record<number, number> = { 768: 12, 1024: 16 }

/** The `args` of a checkpoint, numbers and texts only. */
export async function readArgs(file: string): Promise<Record<string, string | number | boolean>> {
  const opened = await openTorchFile(file)
  try {
    const args = opened.root instanceof Map ? opened.root.get('args') : undefined
    const out: Record<string, string | number | boolean> = {}
    if (!(args instanceof Map)) return out
    for (const [key, value] of args) {
      if (typeof key !== 'string') continue
      if (typeof value === 'bigint') out[key] = Number(value)
      else if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') out[key] = value
    }
    return out
  } finally {
    await opened.close()
  }
}

export function inferUnitokConfig(
  tensors: ReadonlyMap<string, StoredTensor>,
  args: Record<string, string | number | boolean>,
  file: string,
): UnitokConfig {
  const shapeOf = (name: string): readonly number[] => {
    const tensor = tensors.get(name)
    if (!tensor) throw badConfig(file, `it has no tensor "${name}", which UniTok has`)
    return tensor.shape
  }
  const argument = (name: string, fallback: number): number => {
    const value = args[name]
    return typeof value === 'number' && Number.isInteger(value) && value > 0 ? value : fallback
  }
  const [dim = 0, hidden = 0] = [shapeOf('encoder.norm.weight')[0], shapeOf('encoder.blocks.0.mlp.w0.weight')[0]]
  const shape: TransformerShape = {
    dim,
    heads: HEADS[dim] ?? Math.max(1, Math.floor(dim / 16)),
    hidden,
    epsilon: 1e-6,
    activation: 'geglu',
  }
  assertHeads(file, 'encoder', shape)
  const codebooks = countBlocks(tensors.keys(), 'quantizer.codebooks')
  const [entries = 0, chunk = 0] = shapeOf('quantizer.codebooks.0.codebook.weight')
  const [vocabulary = 0, textDim = 0] = shapeOf('text_encoder.token_embedding.weight')
  const textShape: TransformerShape = {
    dim: textDim,
    heads: argument('text_heads', Math.max(1, Math.floor(textDim / 64))),
    hidden: shapeOf('text_encoder.transformer.resblocks.0.mlp.c_fc.weight')[0] ?? 0,
    epsilon: 1e-5,
    activation: 'gelu',
    causal: true,
  }
  assertHeads(file, 'text', textShape)
  return {
    shape,
    encoderDepth: countBlocks(tensors.keys(), 'encoder.blocks'),
    decoderDepth: countBlocks(tensors.keys(), 'decoder.blocks'),
    queries: tensors.has('encoder.reg_token') ? (shapeOf('encoder.reg_token')[1] ?? 0) : 0,
    size: argument('img_size', 256),
    width: codebooks * chunk,
    codebooks,
    entries,
    projection: tensors.has('quant_proj.weight') ? 'linear' : 'attn',
    embedding: shapeOf('projection.weight')[0] ?? 0,
    text: {
      shape: textShape,
      depth: countBlocks(tensors.keys(), 'text_encoder.transformer.resblocks'),
      vocabulary,
      length: shapeOf('text_encoder.positional_embedding')[0] ?? 0,
      pool: 'argmax',
      layerScale: false,
      projectionBias: false,
      prefix: 'text_encoder.',
    },
  }
}
