/** A VTP checkpoint on disk: `config.json` with a file of weights, or with shards that an index lists. */
import { missingFile, openWeights, pickWeights, type Weights } from '../../io/weights.js'
import { checkpointDigest } from '../digest.js'
import type { Candidate, Claim, LocalCheckpoint } from '../family.js'
import { parseConfig, type VtpConfig } from './config.js'
import { checkTensors } from './tensors.js'

const CONFIG = 'config.json'

/** Ours are those whose config.json says so, or names what only VTP has. */
export async function claimCheckpoint(candidate: Candidate): Promise<Claim | undefined> {
  if (candidate.file !== undefined) return undefined
  const config = await candidate.readJson(CONFIG)
  const type = config?.model_type
  if (type !== 'vtp' && !(config && type === undefined && 'vision_embed_dim' in config)) return undefined
  const weights = pickWeights(candidate.files)
  if (weights === undefined) {
    throw missingFile(candidate.ref, 'model.safetensors (nor model.safetensors.index.json)')
  }
  return { files: [CONFIG, weights] }
}

export interface VtpCheckpoint {
  readonly config: VtpConfig
  readonly weights: Weights
  /** SHA-256 (hex) over the configuration's values and the weight files' bytes. */
  readonly digest: string
}

/** Opens and checks a claimed checkpoint. Throws VtpErrors that name what is wrong. */
export async function openCheckpoint(local: LocalCheckpoint, cacheDir: string): Promise<VtpCheckpoint> {
  const { folder, claim } = local
  const config = parseConfig((await local.readText(CONFIG))!, `${folder}/${CONFIG}`)
  const weights = await openWeights(folder, claim.files.at(-1)!)
  try {
    checkTensors(config, weights.tensors, folder)
    return { config, weights, digest: await checkpointDigest(config, weights.files, cacheDir) }
  } catch (error) {
    await weights.close()
    throw error
  }
}
