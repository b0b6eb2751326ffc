/**
 * SigLIP and SigLIP 2 of a fixed size as a family: transformers' layout (`config.json` with model_type siglip) and
 * open_clip's (`open_clip_config.json` with a tower of timm's).
 */
import { missingFile, pickWeights } from '../../io/weights.js'
import { tokenColumns } from '../blocks/outputs.js'
import { towerModel } from '../blocks/tower-model.js'
import { foreignTower } from '../clip/family.js'
import {
  CONFIG,
  type ContrastiveLayouts,
  OPEN_CLIP_CONFIG,
  OPEN_CLIP_WEIGHTS,
  openContrastive,
  PREPROCESSOR,
} from '../clip/files.js'
import { checkpointDigest } from '../digest.js'
import type { Candidate, Claim, Family, LocalCheckpoint, OpenContext } from '../family.js'
import type { ImageModel } from '../image-model.js'
import { naflex, parseOpenClipConfig, parseTransformersConfig, type SiglipConfig } from './config.js'
import { buildSiglipImage, siglipTextTower } from './graph.js'
import { siglipImageShapes, siglipShapes } from './tensors.js'
import { tokenizerFiles } from './tokenizer-files.js'

const LAYOUTS: ContrastiveLayouts<SiglipConfig> = {
  openClip: parseOpenClipConfig,
  transformers: parseTransformersConfig,
  shapes: siglipShapes,
  scalars: ['logit_scale', 'logit_bias'],
}

export const siglip: Family = {
  name: 'siglip',
  title: 'SigLIP (config.json with model_type siglip, or open_clip_config.json)',
  claim,
  open,
}

async function claim(candidate: Candidate): Promise<Claim | undefined> {
  if (candidate.file !== undefined) return undefined
  const raw = await candidate.readJson(OPEN_CLIP_CONFIG)
  if (raw && /siglip/i.test(foreignTower(raw) ?? '')) {
    const weights = pickWeights(candidate.files, OPEN_CLIP_WEIGHTS)
    if (weights) return { files: [OPEN_CLIP_CONFIG, ...tokenizerFiles(candidate.files), weights] }
  }
  const type = (await candidate.readJson(CONFIG))?.model_type
  if (type === 'siglip2') throw naflex(`${candidate.ref}/${CONFIG}`)
  if (type !== 'siglip') {
    if (raw && /siglip/i.test(foreignTower(raw) ?? '')) throw missingFile(candidate.ref, OPEN_CLIP_WEIGHTS[0])
    return undefined
  }
  const weights = pickWeights(candidate.files)
  if (weights === undefined) throw missingFile(candidate.ref, 'model.safetensors (nor pytorch_model.bin)')
  const preprocessor = candidate.files.includes(PREPROCESSOR) ? [PREPROCESSOR] : []
  return { files: [CONFIG, ...preprocessor, ...tokenizerFiles(candidate.files), weights] }
}

async function open(local: LocalCheckpoint, { cacheDir }: OpenContext): Promise<ImageModel> {
  const { folder, name } = local
  return openContrastive(local, LAYOUTS, async ({ raw, config, weights }) => {
    const digest = await checkpointDigest({ family: 'siglip', ...config }, weights.files, cacheDir)
    const imageTensors = siglipImageShapes(config)
    return towerModel({
      family: 'siglip',
      name,
      folder,
      cacheDir,
      digest,
      weights,
      settings: raw,
      shapes: siglipShapes(config),
      isImage: (tensor) => imageTensors.has(tensor),
      image: { ...config, size: { height: config.size, width: config.size } },
      columns: (count, layers) => [
        ...(config.head ? [{ name: 'clip', dtype: 'float32' as const, shape: [config.embedding] }] : []),
        ...tokenColumns(count, config.shape.dim, false, layers),
      ],
      probed: config.head ? { output: 'pooled', dim: config.embedding } : undefined,
      buildImage: (graph, spec) => buildSiglipImage(graph, config, weights.readFloat32, spec),
      text: {
        tower: siglipTextTower(config, weights.readFloat32),
        openTokenizer: async () => (await import('./tokenizer.js')).openSiglipTokenizer(local, config.text.vocabulary),
        probabilities: 'sigmoid',
      },
      transform: (_job, { height, width }) => `resize(${height},${width},bicubic)`,
      lacks: { cls: 'it has no class token', ...(config.head ? {} : { clip: 'vision_use_head is false' }) },
    })
  })
}
