/** CLIP's and SigLIP's two layouts of files: open_clip's and transformers'. Each family parses what it finds in them. */
import type { Weights } from '../../io/weights.js'
import { withWeights } from '../blocks/with-weights.js'
import { checkTensors, type Shapes } from '../check-tensors.js'
import type { LocalCheckpoint } from '../family.js'

export const OPEN_CLIP_CONFIG = 'open_clip_config.json'
/** As open_clip publishes weights, best first. */
export const OPEN_CLIP_WEIGHTS = ['open_clip_model.safetensors', 'open_clip_pytorch_model.bin'] as const
export const CONFIG = 'config.json'
export const PREPROCESSOR = 'preprocessor_config.json'

export interface ContrastiveFiles<C> {
  /** The configuration as it is stored. */
  raw: Record<string, unknown>
  config: C
  weights: Weights
}

export interface ContrastiveLayouts<C> {
  openClip: (raw: unknown, file: string) => C
  transformers: (raw: unknown, preprocessor: unknown, file: string) => C
  /** Shapes of all tensors but the scalars of the logits, whose rank varies ([] or [1]). */
  shapes: (config: C) => Shapes
  /** The scalars that must be there. */
  scalars: readonly string[]
}

/** Buffers of old files, and the scalars. */
const IGNORED = /(^|\.)(position_ids|attn_mask|logit_scale|logit_bias)$/

/**
 * Reads the configuration, opens the weights, checks every tensor, and hands them to `make`. Throws VtpErrors
 * `bad_config`, `unsupported_option`, and `bad_checkpoint` that names what is missing, unknown or of another shape.
 */
export async function openContrastive<C, T>(
  local: LocalCheckpoint,
  layouts: ContrastiveLayouts<C>,
  make: (files: ContrastiveFiles<C>) => Promise<T>,
): Promise<T> {
  const { folder, claim } = local
  const isOpen = claim.files.includes(OPEN_CLIP_CONFIG)
  const file = isOpen ? OPEN_CLIP_CONFIG : CONFIG
  const raw = await local.readJson(file)
  const config = isOpen
    ? layouts.openClip(raw, `${folder}/${file}`)
    : layouts.transformers(raw, await local.readJson(PREPROCESSOR), `${folder}/${file}`)
  const reading = { keys: ['state_dict'], rename: (stored: string) => stored.replace(/^module\./, '') }
  return withWeights(folder, claim.files.at(-1)!, reading, async (weights) => {
    const expected = layouts.shapes(config)
    for (const name of layouts.scalars) if (!weights.tensors.has(name)) expected.set(name, [])
    checkTensors(expected, weights.tensors, { place: folder, config: file, ignored: (name) => IGNORED.test(name) })
    return make({ raw: raw!, config, weights })
  })
}
