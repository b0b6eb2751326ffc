/**
 * A checkpoint of a given shape with random weights, for timings: VTP-S, -B and -L as the model card
 * describes them. Values have a useful scale, so activations stay finite.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { encodeSafetensorsHeader } from '../../src/io/safetensors.js'
import { roundToBfloat16 } from '../../src/math/half.js'
import { configSchema, type VtpConfig } from '../../src/model/vtp/config.js'
import { expectedTensors } from '../../src/model/vtp/tensors.js'

export const SHAPES = {
  S: {
    vision_embed_dim: 384,
    vision_depth: 12,
    vision_num_heads: 6,
    text_embed_dim: 384,
    text_num_heads: 6,
    text_depth: 12,
    decoder_embed_dim: 384,
    decoder_depth: 12,
    decoder_num_heads: 6,
  },
  B: {
    vision_embed_dim: 768,
    vision_depth: 12,
    vision_num_heads: 12,
    text_embed_dim: 768,
    text_num_heads: 12,
    text_depth: 12,
    decoder_embed_dim: 768,
    decoder_depth: 12,
    decoder_num_heads: 12,
  },
  L: {
    vision_embed_dim: 1024,
    vision_depth: 24,
    vision_num_heads: 16,
    text_embed_dim: 768,
    text_num_heads: 12,
    text_depth: 12,
    decoder_embed_dim: 1024,
    decoder_depth: 24,
    decoder_num_heads: 16,
  },
} as const
export type ShapeName = keyof typeof SHAPES

/** Uniform in [-1, 1), the same for the same seed. */
function randomValues(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2147483648 - 1
  }
}

/** Channels of every norm that an outlier checkpoint makes loud, as parts of the width, and how loud. */
const LOUD_CHANNELS = [0.01, 0.26, 0.51, 0.76]
const LOUDNESS = 30

function fill(name: string, shape: number[], config: VtpConfig, outliers: boolean): Float32Array {
  const out = new Float32Array(shape.reduce((a, b) => a * b, 1))
  if (name.endsWith('rope_embed.periods')) {
    const half = name.startsWith('trunk')
      ? config.vision_embed_dim / config.vision_num_heads / 2
      : config.decoder_embed_dim / config.decoder_num_heads / 2
    return out.map((_, i) => roundToBfloat16(100 ** roundToBfloat16(roundToBfloat16(2 * i) / half)))
  }
  const next = randomValues(createHash('sha256').update(name).digest().readUInt32LE())
  const matrix = shape.length > 1
  const scale = matrix ? Math.sqrt(3 / (out.length / shape[0]!)) : 0.1
  const offset = !matrix && name.endsWith('.weight') ? 1 : 0
  for (let i = 0; i < out.length; i++) out[i] = offset + scale * next()
  if (outliers && /(norm\d?|ln_\w+)\.weight$/.test(name)) {
    for (const part of LOUD_CHANNELS) out[Math.floor(part * out.length)]! *= LOUDNESS
  }
  return out
}

/** Writes the checkpoint once; returns its folder. With `outliers`, four weights of every norm are 30 times as large. */
export async function randomCheckpoint(root: string, shape: ShapeName, outliers = false): Promise<string> {
  const folder = path.join(root, `random-vtp-${shape.toLowerCase()}${outliers ? '-outliers' : ''}`)
  const file = path.join(folder, 'model.safetensors')
  if (existsSync(file)) return folder
  mkdirSync(folder, { recursive: true })
  const config = configSchema.parse(SHAPES[shape])
  writeFileSync(path.join(folder, 'config.json'), JSON.stringify({ model_type: 'vtp', ...config }, null, 1))
  const shapes = expectedTensors(config)
  const entries = [...shapes].map(([name, dims]) => ({ name, dtype: 'F32' as const, shape: dims }))
  const header = encodeSafetensorsHeader(entries, { format: 'pt' })
  const out = createWriteStream(`${file}.part-${process.pid}`)
  out.write(header.bytes)
  for (const { name, shape: dims } of header.order) {
    const values = fill(name, dims, config, outliers)
    if (!out.write(Buffer.from(values.buffer))) await once(out, 'drain')
  }
  out.end()
  await once(out, 'close')
  const { renameSync } = await import('node:fs')
  renameSync(`${file}.part-${process.pid}`, file)
  return folder
}
