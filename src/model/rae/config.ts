/**
 * A RAE: a YAML whose `stage_1.params` name an encoder of another family, a decoder's configuration and file, and
 * statistics of the latents. Reference: bytetriper/RAE a4d18c4, src/stage1/rae.py and its encoders.
 */
import * as z from 'zod'
import { usageError, VtpError } from '../../errors.js'
import type { TransformerShape } from '../blocks/transformer.js'
import { assertHeads, LIMITS, parseWith } from '../clip/config.js'
import type { Candidate } from '../family.js'

/** The encoders by their class in the YAML. */
export const ENCODERS = ['Dinov2withNorm', 'SigLIP2wNorm', 'MAEwNorm'] as const
export type EncoderClass = (typeof ENCODERS)[number]

const { count, width, depth } = LIMITS

const paramsSchema = z.looseObject({
  encoder_cls: z.string(),
  encoder_config_path: z.string().optional(),
  encoder_input_size: count.default(224),
  encoder_params: z.looseObject({}).nullish(),
  decoder_config_path: z.string().optional(),
  decoder_patch_size: count.default(16),
  pretrained_decoder_path: z.string().nullish(),
  normalization_stat_path: z.string().nullish(),
  reshape_to_2d: z.literal(true).default(true),
})
export type RaeParams = z.infer<typeof paramsSchema>

export interface RaeYaml {
  name: string
  params: RaeParams
  encoder: EncoderClass
  raw: Record<string, unknown>
}

/** The YAML of the candidate: the file that was given, or the one in its folder that has a `stage_1`. */
export async function findYaml(candidate: Candidate): Promise<RaeYaml | undefined> {
  const names = candidate.file !== undefined ? [candidate.file] : candidate.files.filter((name) => !name.includes('/'))
  for (const name of names.filter((name) => /\.ya?ml$/.test(name))) {
    const { parseYaml } = await import('../../io/yaml.js')
    const text = await candidate.readText(name)
    let raw: unknown
    try {
      raw = parseYaml(text ?? '')
    } catch {
      continue
    }
    const stage = (raw as { stage_1?: { params?: unknown } } | null)?.stage_1
    if (!stage) continue
    const where = `${candidate.ref}/${name}`
    const params = parseWith(paramsSchema, stage.params, where)
    const encoder = ENCODERS.find((known) => known === params.encoder_cls)
    if (!encoder)
      throw usageError('unsupported_option', `${where}: encoder_cls ${params.encoder_cls} is not supported`, [
        `the encoders are ${ENCODERS.join(', ')}`,
      ])
    if ((params.encoder_params as { normalize?: unknown } | null | undefined)?.normalize === false)
      throw usageError('unsupported_option', `${where}: encoder_params.normalize false is not supported`, [
        "the published models drop the weight and bias of the encoder's last norm (normalize: true)",
      ])
    return { name, params, encoder, raw: raw as Record<string, unknown> }
  }
  return undefined
}

/**
 * A path of the YAML among the files of its folder. Published configurations write paths from the root of RAE's
 * repository: the longest end of the path that is there counts.
 */
export function locate(candidate: Candidate, path: string): string | undefined {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.')
  for (let from = 0; from < parts.length; from++) {
    const end = parts.slice(from).join('/')
    if (candidate.files.includes(end)) return end
  }
  const name = parts.at(-1)
  const same = candidate.files.filter((file) => file.split('/').at(-1) === name)
  return same.length === 1 ? same[0] : undefined
}

const decoderSchema = z.looseObject({
  decoder_hidden_size: width,
  decoder_intermediate_size: count,
  decoder_num_attention_heads: width,
  decoder_num_hidden_layers: depth,
  hidden_act: z.literal('gelu').default('gelu'),
  layer_norm_eps: z.number().positive().default(1e-12),
  patch_size: z.unknown().optional(),
})

export interface RaeDecoder {
  shape: TransformerShape
  depth: number
  patch: number
}

/** The decoder's `config.json`; its `patch_size` is a placeholder, the YAML has the number. */
export function parseDecoder(raw: unknown, patch: number, file: string): RaeDecoder {
  const config = parseWith(decoderSchema, raw, file)
  const shape: TransformerShape = {
    dim: config.decoder_hidden_size,
    heads: config.decoder_num_attention_heads,
    hidden: config.decoder_intermediate_size,
    epsilon: config.layer_norm_eps,
    activation: 'gelu',
  }
  assertHeads(file, 'decoder', shape)
  return { shape, depth: config.decoder_num_hidden_layers, patch }
}

/** The error for a file that the YAML names and the folder lacks. */
export function missingPart(where: string, what: string, path: string | null | undefined): VtpError {
  return new VtpError(`${where}: ${what} ${path ?? '(not named)'} is not there`, {
    code: 'model_incomplete',
    exitCode: 2,
    suggestions: ['put the YAML, the decoder with its config.json and stat.pt into one folder'],
  })
}
