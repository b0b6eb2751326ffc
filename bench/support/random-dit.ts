/**
 * A LightningDiT checkpoint of a given shape with random weights, for timings and for tests that need no
 * trained model. Values have a useful scale, so activations stay finite and every weight has an effect.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream, existsSync, mkdirSync, renameSync } from 'node:fs'
import path from 'node:path'
import { encodeSafetensorsHeader } from '../../src/io/safetensors.js'
import { DIT_SIZES, type DitConfig } from '../../src/model/lightningdit/config.js'
import { ditRope } from '../../src/model/lightningdit/tables.js'
import { expectedDitTensors } from '../../src/model/lightningdit/tensors.js'

/** The options of the VTP configurations (train_vtp_l_dit_xl.yaml), for latents [64,16,16]. */
export function vtpStyle(size: keyof typeof DIT_SIZES | Partial<DitConfig>): DitConfig {
  const base = typeof size === 'string' ? DIT_SIZES[size]! : DIT_SIZES['LightningDiT-XL/1']!
  return {
    ...base,
    inputSize: 16,
    inChannels: 64,
    mlpRatio: 4,
    numClasses: 1000,
    nullClass: true,
    learnSigma: false,
    qkNorm: false,
    swiglu: true,
    rope: true,
    rmsNorm: true,
    woShift: false,
    ...(typeof size === 'string' ? {} : size),
  }
}

function fill(name: string, shape: number[], config: DitConfig): Float32Array {
  const out = new Float32Array(shape.reduce((a, b) => a * b, 1))
  if (name.startsWith('feat_rope.')) {
    const tables = ditRope(config.inputSize / config.patchSize, config.hiddenSize / config.numHeads)
    const half = name.endsWith('cos') ? tables.cos : tables.sin
    return out.map((_, i) => half[i >> 1]!)
  }
  let state = createHash('sha256').update(name).digest().readUInt32LE()
  const matrix = shape.length > 1
  const scale = name.startsWith('y_embedder') ? 0.5 : matrix ? Math.sqrt(3 / (out.length / shape[0]!)) : 0.1
  // adaLN gates of a trained model are small: the residual stream must not explode over 28 blocks.
  const factor = name.includes('adaLN') ? 0.3 : 1
  const offset = !matrix && /norm\w*\.weight$/.test(name) ? 1 : 0
  for (let i = 0; i < out.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    out[i] = offset + factor * scale * (state / 2147483648 - 1)
  }
  return out
}

/** Writes the checkpoint once; returns its path. */
export async function randomDit(root: string, name: string, config: DitConfig): Promise<string> {
  const file = path.join(root, `random-dit-${name.toLowerCase().replaceAll('/', '-')}.safetensors`)
  if (existsSync(file)) return file
  mkdirSync(root, { recursive: true })
  const shapes = expectedDitTensors(config)
  const header = encodeSafetensorsHeader([...shapes].map(([name, shape]) => ({ name, dtype: 'F32' as const, shape })))
  const out = createWriteStream(`${file}.part`)
  out.write(header.bytes)
  for (const { name, shape } of header.order) {
    const values = fill(name, shape, config)
    if (!out.write(Buffer.from(values.buffer))) await once(out, 'drain')
  }
  out.end()
  await once(out, 'close')
  renameSync(`${file}.part`, file)
  return file
}
