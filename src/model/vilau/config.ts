/**
 * A VILA-U vision tower: `config.json` of model type rqvaesigliptransformer_model, with a SigLIP inside whose sizes are
 * in its own configuration (`siglip_config/config.json` where it is kept beside), else read off the tensors.
 * Reference: mit-han-lab/vila-u 096623c, vila_u/model/multimodal_encoder/rqvaesigliptransformer.
 */
import * as z from 'zod'
import type { StoredTensor } from '../../io/weights.js'
import { countBlocks } from '../blocks/torch-claim.js'
import { badConfig, LIMITS, parseWith } from '../clip/config.js'
import { parseTransformersConfig, type SiglipConfig } from '../siglip/config.js'

export const MODEL_TYPE = 'rqvaesigliptransformer_model'

export interface VilauConfig {
  siglip: SiglipConfig
  /** Codes per place. */
  depth: number
  entries: number
  /** One codebook for every depth, or one each; a shared one may be stored once or once per depth. */
  shared: boolean
  /** Places of latents per place of codes, on each side. */
  fold: number
  /** The grid that latents are brought to before the decoder. */
  decoderGrid?: { h: number; w: number }
}

const { count, width } = LIMITS
const grid = z.tuple([count, count, count])
const schema = z.looseObject({
  rqvaesiglip: z.looseObject({
    embed_dim: width,
    n_embed: count,
    latent_shape: grid,
    code_shape: grid,
    shared_codebook: z.boolean().default(false),
    decoder_latent_shape: z.tuple([count, count]).nullish(),
  }),
})

/** Heads by width of the SigLIPs that were used. */
const HEADS: Record<number, number> = { 768: 12, 1024: 16, 1152: 16 }

/** A configuration of SigLIP in transformers' words, from the shapes of its tensors. */
function inferSiglip(tensors: ReadonlyMap<string, StoredTensor>, file: string): Record<string, unknown> {
  const shapeOf = (name: string): readonly number[] => {
    const tensor = tensors.get(name)
    if (!tensor)
      throw badConfig(file, `the checkpoint has no tensor "${name}", and there is no siglip_config/config.json`)
    return tensor.shape
  }
  const tower = (prefix: string, dim: number): Record<string, unknown> => ({
    hidden_size: dim,
    intermediate_size: shapeOf(`${prefix}.encoder.layers.0.mlp.fc1.weight`)[0],
    num_hidden_layers: countBlocks(tensors.keys(), `${prefix}.encoder.layers`),
    num_attention_heads: HEADS[dim] ?? Math.max(1, Math.floor(dim / 64)),
  })
  const [dim = 0, , patch = 0] = shapeOf('vision_model.embeddings.patch_embedding.weight')
  const side = Math.round(Math.sqrt(shapeOf('vision_model.embeddings.position_embedding.weight')[0] ?? 0))
  const [vocabulary = 0, textDim = 0] = shapeOf('text_model.embeddings.token_embedding.weight')
  return {
    model_type: 'siglip',
    vision_config: { ...tower('vision_model', dim), image_size: side * patch, patch_size: patch },
    text_config: {
      ...tower('text_model', textDim),
      vocab_size: vocabulary,
      max_position_embeddings: shapeOf('text_model.embeddings.position_embedding.weight')[0],
      projection_size: shapeOf('text_model.head.weight')[0],
    },
  }
}

/** Parses the tower's `config.json`. `siglip` is the SigLIP's own, where it is there. Throws VtpError `bad_config`. */
export function parseVilauConfig(
  raw: unknown,
  siglip: Record<string, unknown> | undefined,
  tensors: ReadonlyMap<string, StoredTensor>,
  file: string,
): VilauConfig {
  const { rqvaesiglip: config } = parseWith(schema, raw, file)
  const inner = parseTransformersConfig(siglip ?? inferSiglip(tensors, file), undefined, file)
  const [latentHeight, latentWidth, channels] = config.latent_shape
  const [codeHeight, codeWidth, depth] = config.code_shape
  const fold = latentHeight / codeHeight
  if (!Number.isInteger(fold) || latentWidth / codeWidth !== fold)
    throw badConfig(
      file,
      `latent_shape ${config.latent_shape} is not a whole multiple of code_shape ${config.code_shape}`,
    )
  if (channels !== inner.shape.dim || config.embed_dim !== channels * fold * fold)
    throw badConfig(
      file,
      `embed_dim ${config.embed_dim} does not fit latents of ${channels} channels, folded ${fold}×${fold}`,
    )
  if (depth > 64) throw badConfig(file, `code_shape says ${depth} codes per place`)
  const target = config.decoder_latent_shape
  return {
    siglip: inner,
    depth,
    entries: config.n_embed,
    shared: config.shared_codebook,
    fold,
    decoderGrid: target ? { h: target[0], w: target[1] } : undefined,
  }
}
