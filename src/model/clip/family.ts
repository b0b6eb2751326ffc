/**
 * CLIP and OpenCLIP as a family: open_clip's layout (`open_clip_config.json`) and transformers' (`config.json` with
 * model_type clip). OpenAI's own `.pt` files are TorchScript archives and are refused.
 */
import { VtpError } from '../../errors.js'
import { missingFile, openWeights, pickWeights } from '../../io/weights.js'
import { tokenColumns } from '../blocks/outputs.js'
import { otherVocabulary, towerModel } from '../blocks/tower-model.js'
import { checkpointDigest } from '../digest.js'
import type { Candidate, Claim, Family, LocalCheckpoint, OpenContext } from '../family.js'
import type { ImageModel, ImageSize } from '../image-model.js'
import { type ClipConfig, parseTransformersConfig } from './config.js'
import { buildClipImage, clipTextTower } from './graph.js'
import { parseOpenClipConfig } from './open-clip-config.js'
import { checkClip, clipShapes } from './tensors.js'

export const OPEN_CLIP_CONFIG = 'open_clip_config.json'
/** As open_clip publishes weights, best first. */
export const OPEN_CLIP_WEIGHTS = ['open_clip_model.safetensors', 'open_clip_pytorch_model.bin'] as const
const CONFIG = 'config.json'
const PREPROCESSOR = 'preprocessor_config.json'

export const clip: Family = {
  name: 'clip',
  title: 'CLIP (config.json with model_type clip, or open_clip_config.json)',
  claim,
  open,
}

/** Whether an open_clip configuration describes a tower of timm's or another library's. */
export function foreignTower(raw: Record<string, unknown>): string | undefined {
  const model = (raw.model_cfg ?? {}) as { vision_cfg?: { timm_model_name?: unknown } }
  const name = model.vision_cfg?.timm_model_name
  return typeof name === 'string' ? name : undefined
}

async function claim(candidate: Candidate): Promise<Claim | undefined> {
  if (candidate.file !== undefined) {
    if (await isTorchScript(candidate)) throw torchScript(candidate.ref)
    return undefined
  }
  const open = await candidate.readJson(OPEN_CLIP_CONFIG)
  if (open) {
    if (foreignTower(open) !== undefined && /siglip/i.test(foreignTower(open)!)) return undefined
    const weights = pickWeights(candidate.files, OPEN_CLIP_WEIGHTS)
    if (weights) return { files: [OPEN_CLIP_CONFIG, weights] }
    if ((await candidate.readJson(CONFIG))?.model_type !== 'clip')
      throw missingFile(candidate.ref, OPEN_CLIP_WEIGHTS.join(' (nor ').concat(')'))
  }
  if ((await candidate.readJson(CONFIG))?.model_type !== 'clip') return undefined
  const weights = pickWeights(candidate.files)
  if (weights === undefined) throw missingFile(candidate.ref, 'model.safetensors (nor pytorch_model.bin)')
  const small = [CONFIG, ...(candidate.files.includes(PREPROCESSOR) ? [PREPROCESSOR] : [])]
  return { files: [...small, weights] }
}

/** OpenAI's own files: a zip archive with code and constants beside its tensors. */
async function isTorchScript({ file }: Candidate): Promise<boolean> {
  return file !== undefined && /^(ViT-[BL]-\d+(-336px|@336px)?|RN\d+(x\d+)?)\.pt$/.test(file)
}

function torchScript(ref: string): VtpError {
  return new VtpError(`${ref} is a TorchScript archive, which holds code`, {
    code: 'unsupported_file',
    exitCode: 2,
    suggestions: ['use the same model in the layout of transformers, e.g. openai/clip-vit-large-patch14'],
  })
}

async function open(local: LocalCheckpoint, { cacheDir }: OpenContext): Promise<ImageModel> {
  const { folder, claim, name } = local
  const isOpen = claim.files.includes(OPEN_CLIP_CONFIG)
  const configFile = isOpen ? OPEN_CLIP_CONFIG : CONFIG
  const raw = await local.readJson(configFile)
  const config = isOpen
    ? parseOpenClipConfig(raw, `${folder}/${configFile}`)
    : parseTransformersConfig(raw, await local.readJson(PREPROCESSOR), `${folder}/${configFile}`)
  const weights = await openWeights(folder, claim.files.at(-1)!, {
    keys: ['state_dict'],
    rename: (stored) => stored.replace(/^module\./, ''),
  })
  try {
    checkClip(config, weights.tensors, folder, configFile)
    const digest = await checkpointDigest({ family: 'clip', ...config }, weights.files, cacheDir)
    const { image, text, embedding } = config
    return towerModel({
      family: 'clip',
      name,
      folder,
      cacheDir,
      digest,
      weights,
      settings: raw!,
      shapes: clipShapes(config),
      isImage: (tensor) => /^(visual\.|vision_model\.|visual_projection)/.test(tensor),
      image,
      columns: (count, layers) => [
        { name: 'clip', dtype: 'float32', shape: [embedding] },
        ...tokenColumns(count, image.shape.dim, true, layers),
      ],
      probed: { output: 'cls', dim: image.shape.dim },
      buildImage: (graph, spec) => buildClipImage(graph, config, weights.readFloat32, spec),
      text: {
        tower: clipTextTower(config, weights.readFloat32),
        probabilities: 'softmax',
        async openTokenizer() {
          const { createTokenizer, VOCAB_SIZE } = await import('../text/tokenizer.js')
          if (text.vocabulary === VOCAB_SIZE) return createTokenizer()
          throw otherVocabulary(name, text.vocabulary, `CLIP's tokenizer has ${VOCAB_SIZE}`)
        },
      },
      transform: (_job, size) => transformFor(config, size),
      lacks: {},
    })
  } catch (error) {
    await weights.close()
    throw error
  }
}

function transformFor({ resize, interpolation }: ClipConfig, { height, width }: ImageSize): string {
  if (resize === 'squash' || height !== width) return `resize(${height},${width},${interpolation})`
  return `resize(${height},${interpolation})|center-crop(${height})`
}
