/**
 * How far the learning rate and the decay of the weights reach each parameter: DINOv2's rules for trunk, head, decoder
 * and projection (no decay for biases, norms and LayerScale; lower rates in early layers), OpenCLIP's for the text
 * side (no decay for vectors and scalars, norms, biases and the logit scale).
 */
import type { VtpConfig } from '../model/vtp/config.js'

export interface ParameterGroup {
  lr_multiplier: number
  wd_multiplier: number
  is_last_layer: boolean
}

export interface GroupSettings {
  layer_decay: number
  patch_embed_lr_mult: number
}

const TEXT = /^(text_transformer\.|token_embedding\.|positional_embedding$|ln_final\.|text_projection|logit_)/

export function groupOf(
  name: string,
  shape: readonly number[],
  { vision_depth: depth }: Pick<VtpConfig, 'vision_depth'>,
  settings: GroupSettings,
): ParameterGroup {
  if (TEXT.test(name)) {
    const decays = shape.length >= 2 && !/ln|bias|logit_scale/.test(name)
    return { lr_multiplier: 1, wd_multiplier: decays ? 1 : 0, is_last_layer: false }
  }
  const undecayed = name.endsWith('.bias') || name.includes('norm') || name.includes('gamma')
  const patch = name.includes('patch_embed') ? settings.patch_embed_lr_mult : 1
  return {
    lr_multiplier: layerRate(name, depth, settings.layer_decay) * patch,
    wd_multiplier: undecayed ? 0 : 1,
    is_last_layer: name.includes('last_layer'),
  }
}

/** rate^(depth + 1 − layer): embeddings are layer 0, block i is layer i + 1, everything else the last. */
function layerRate(name: string, depth: number, rate: number): number {
  if (!name.startsWith('trunk.')) return 1
  const block = /^trunk\.blocks\.(\d+)\./.exec(name)
  if (block) return rate ** (depth - Number(block[1]))
  return /^trunk\.(cls_token|mask_token|patch_embed)/.test(name) ? rate ** (depth + 1) : 1
}
