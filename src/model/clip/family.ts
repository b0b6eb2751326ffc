/**
 * CLIP and OpenCLIP as a family: open_clip's layout (`open_clip_config.json`) and transformers' (`config.json` with
 * model_type clip). OpenAI's own `.pt` files are TorchScript archives and are refused.
 */
import { VtpError } from '../../errors.js'
import { missingFile, pickWeights } from '../../io/weights.js'
import { tokenColumns } from '../blocks/outputs.js'
import { otherVocabulary, towerModel } from '../blocks/tower-model.js'
import { checkpointDigest } from '../digest.js'
import type { Candidate, Claim, Family, LocalCheckpoint, OpenContext } from '../family.js'
import type { ImageModel, ImageSize } from '../image-model.js'
import { type ClipConfig, parseTransformersConfig } from './config.js'
import {
  CONFIG,
  type ContrastiveLayouts,
  OPEN_CLIP_CONFIG,
  OPEN_CLIP_WEIGHTS,
  openContrastive,
  PREPROCESSOR,
} from './files.js'
import { buildClipImage, clipTextTower } from './graph.js'
import { parseOpenClipConfig } from './open-clip-config.js'
import { clipShapes } from './tensors.js'

const LAYOUTS: ContrastiveLayouts<ClipConfig> = {
  openClip: parseOpenClipConfig,
  transformers: parseTransformersConfig,
  shapes: clipShapes,
  scalars: ['logit_scale'],
}

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
    if (TORCH_SCRIPT.test(candidate.file)) throw torchScript(candidate.ref)
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
  const config = await candidate.readJson(CONFIG)
  if (config?.model_type !== 'clip') {
    const script = config ? undefined : candidate.files.find((name) => TORCH_SCRIPT.test(name))
    if (script !== undefined) throw torchScript(`${candidate.ref}/${script}`)
    return undefined
  }
  const weights = pickWeights(candidate.files)
  if (weights === undefined) throw missingFile(candidate.ref, 'model.safetensors (nor pytorch_model.bin)')
  const small = [CONFIG, ...(candidate.files.includes(PREPROCESSOR) ? [PREPROCESSOR] : [])]
  return { files: [...small, weights] }
}

/** OpenAI's own files: zip archives with code and constants beside their tensors. */
const TORCH_SCRIPT = /^(ViT-[BL]-\d+(-336px|@336px)?|RN\d+(x\d+)?)\.pt$/

function torchScript(ref: string): VtpError {
  return new VtpError(`${ref} is a TorchScript archive, which holds code`, {
    code: 'unsupported_file',
    exitCode: 2,
    suggestions: ['use the same model in the layout of transformers, e.g. openai/clip-vit-large-patch14'],
  })
}

async function open(local: LocalCheckpoint, { cacheDir }: OpenContext): Promise<ImageModel> {
  const { folder, name } = local
  return openContrastive(local, LAYOUTS, async ({ raw, config, weights }) => {
    const digest = await checkpointDigest({ family: 'clip', ...config }, weights.files, cacheDir)
    const { image, text, embedding } = config
    return towerModel({
      family: 'clip',
      name,
      folder,
      cacheDir,
      digest,
      weights,
      settings: raw,
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
  })
}

function transformFor({ resize, interpolation }: ClipConfig, { height, width }: ImageSize): string {
  if (resize === 'squash' || height !== width) return `resize(${height},${width},${interpolation})`
  return `resize(${height},${interpolation})|center-crop(${height})`
}
