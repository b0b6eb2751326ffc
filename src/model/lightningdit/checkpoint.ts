/**
 * A LightningDiT checkpoint: the `.pt` file of the reference's train.py (`ema` before `model`), or a state
 * dict alone as `.pt` or `.safetensors`, or a folder that holds one. Opening reads the structure only.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../../errors.js'
import { fileDigest } from '../../io/file-digest.js'
import { openWeights, withoutWrappers } from '../../io/weights.js'
import { checkDitConfig, type DitConfig } from './config.js'
import { ditRope } from './tables.js'
import { checkDitTensors, inferDitConfig } from './tensors.js'

export interface DitCheckpoint {
  /** The file's name, for people. */
  readonly name: string
  readonly path: string
  readonly config: DitConfig
  /** SHA-256 (hex) over configuration and weights. */
  readonly digest: string
  /** A tensor widened to float32; RoPE's tables are computed where the checkpoint lacks them. */
  readFloat32(name: string): Promise<Float32Array>
  close(): Promise<void>
}

export interface OpenDitOptions {
  cacheDir: string
  /** The configuration to hold the checkpoint to; without it the shapes decide. */
  config?: DitConfig
  /** Number of attention heads where the shapes do not show it. */
  heads?: number
}

/** Where train.py keeps weights, best first: the moving average is what the reference samples from. */
const STATE_KEYS = ['ema', 'model', 'state_dict']

async function findFile(ref: string): Promise<string> {
  const info = await stat(ref).catch(() => undefined)
  if (info?.isFile()) return ref
  if (!info)
    throw usageError('dit_missing', `There is no checkpoint at ${ref}`, [
      'give --dit the .pt or .safetensors file of a LightningDiT',
    ])
  const names = (await readdir(ref)).filter((name) => /\.(safetensors|pt)$/.test(name) && name !== 'latents_stats.pt')
  const best = ['model.safetensors', 'ema.safetensors'].find((name) => names.includes(name))
  if (best) return path.join(ref, best)
  if (names.length === 1) return path.join(ref, names[0]!)
  throw usageError('dit_missing', `${ref} holds ${names.length} checkpoints: which one is meant is not clear`, [
    names.length > 0
      ? `give one file, e.g. ${path.join(ref, names.sort().at(-1)!)}`
      : 'give a .pt or .safetensors file',
  ])
}

/** Opens and checks a checkpoint. Throws usage errors `dit_missing`, `not_a_dit`, `dit_mismatch`, and the reader's. */
export async function openDit(ref: string, options: OpenDitOptions): Promise<DitCheckpoint> {
  const file = await findFile(ref)
  const [folder, base] = [path.dirname(file), path.basename(file)]
  const opened = await openWeights(folder, base, { keys: STATE_KEYS, rename: withoutWrappers })
  try {
    const shapes = new Map([...opened.tensors].map(([name, { shape }]) => [name, shape]))
    const config = options.config
      ? checkDitConfig(options.config)
      : inferDitConfig(shapes, file, options.heads ?? (await headsBeside(file)))
    checkDitTensors(config, shapes, file)
    const weights = await fileDigest(file, options.cacheDir)
    const sorted = Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1))
    return {
      name: base,
      path: file,
      config,
      digest: createHash('sha256')
        .update(`${JSON.stringify(sorted)}\n${weights}`)
        .digest('hex'),
      readFloat32: async (name) => (opened.tensors.has(name) ? opened.readFloat32(name) : computedBuffer(config, name)),
      close: () => opened.close(),
    }
  } catch (error) {
    await opened.close()
    throw error
  }
}

/** `num_heads` of a config.json beside the weights: the constructor's arguments by name. */
export async function headsBeside(file: string): Promise<number | undefined> {
  try {
    const parsed: unknown = JSON.parse(await readFile(path.join(path.dirname(file), 'config.json'), 'utf8'))
    const heads = (parsed as { num_heads?: unknown }).num_heads
    return typeof heads === 'number' ? heads : undefined
  } catch {
    return undefined
  }
}

/** feat_rope.freqs_{cos,sin} [L, d] with each angle twice, as the reference's buffers. */
export function computedBuffer(config: DitConfig, name: string): Float32Array {
  const headDim = config.hiddenSize / config.numHeads
  const tables = ditRope(config.inputSize / config.patchSize, headDim)
  const half = name.endsWith('cos') ? tables.cos : tables.sin
  return Float32Array.from({ length: half.length * 2 }, (_, i) => half[i >> 1]!)
}
