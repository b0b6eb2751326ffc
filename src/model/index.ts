/** Models: from a folder, a file, a hub id or `nano` to what the rest of the program knows of one. */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { usageError } from '../errors.js'
import { defaultCacheDir } from '../io/cache.js'
import { packageFile } from '../package.js'
import { localCandidate, PLAIN_NAMES } from './candidate.js'
import type { ImageModel } from './image-model.js'
import { recognise, unknownCheckpoint } from './registry.js'

export type { GraphFile } from '../graph/compile.js'
export { PRECISIONS, type Precision } from '../graph/precision.js'
export { defaultCacheDir } from '../io/cache.js'
export * from './image-model.js'
export { assertOutput, assertPrecision, decoderOf, outputNames, textOf } from './parts.js'

export interface OpenModelOptions {
  /** Default: `defaultCacheDir()`. */
  cacheDir?: string
  /** Lines for people, e.g. on a download. */
  onNote?: (line: string) => void
  signal?: AbortSignal
}

/** The folder of the bundled model. */
export function bundledModelFolder(): string {
  return fileURLToPath(packageFile('models/vtp-nano'))
}

const HUB_ID = /^([\w][\w.-]*\/[\w.-]+(@[\w./-]+)?$|hf:\/\/)/
interface Resolved {
  folder: string
  name: string
  file?: string
}

/** Opens a model by folder, file, hub id (`org/name[@revision]`) or `nano`. Reads headers only, plus a digest that is cached. */
export async function openModel(ref: string, options: OpenModelOptions = {}): Promise<ImageModel> {
  const cacheDir = options.cacheDir ?? defaultCacheDir()
  const { folder, name, file } = await resolveModel(ref, options)
  const candidate = await localCandidate(ref, folder, file)
  const found = await recognise(candidate)
  if (!found) throw await unknownCheckpoint(candidate)
  return found.family.open(
    { ...candidate, folder, name, claim: found.claim },
    { ...options, cacheDir, openModel: (other) => openModel(other, options) },
  )
}

/** Whether a model can be opened without a download. */
export async function isModelHere(ref: string): Promise<boolean> {
  if (ref === 'nano' || (await stat(ref).catch(() => undefined))) return true
  if (!HUB_ID.test(ref)) return false
  const { isHubModelHere } = await import('./hub/index.js')
  return isHubModelHere(ref)
}

async function resolveModel(ref: string, options: OpenModelOptions): Promise<Resolved> {
  if (ref === 'nano') return { folder: bundledModelFolder(), name: 'vtp-nano' }
  if (ref.startsWith('s3://')) {
    const { resolveS3Model } = await import('./hub/s3.js')
    return resolveS3Model(ref, { cacheDir: options.cacheDir ?? defaultCacheDir(), onNote: options.onNote })
  }
  const info = await stat(ref).catch(() => undefined)
  if (info?.isDirectory()) return { folder: ref, name: path.basename(path.resolve(ref)) }
  if (info?.isFile()) {
    const [folder, file] = [path.dirname(ref), path.basename(ref)]
    if (PLAIN_NAMES.test(file)) return { folder, name: path.basename(path.resolve(folder)) }
    return { folder, name: path.parse(file).name, file }
  }
  if (!info && HUB_ID.test(ref) && !ref.startsWith('.')) {
    const { parseHubRef, resolveHubModel } = await import('./hub/index.js')
    const folder = await resolveHubModel(ref, { onProgress: options.onNote, signal: options.signal })
    return { folder, name: ref, file: parseHubRef(ref).file }
  }
  throw usageError('model_missing', `There is no model at ${ref}`, [
    'give a folder (or s3://bucket/prefix) with config.json and model.safetensors, a hub id such as MiniMaxAI/VTP-Large-f16d64, or nano',
  ])
}
