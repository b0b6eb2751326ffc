/** MAE's encoder as a family: its authors' files (pre-trained, with decoder, fine-tuned), and transformers' layout. */
import { missingFile, pickWeights } from '../../io/weights.js'
import { tokenColumns } from '../blocks/outputs.js'
import { claimTorchFile, HUB_CONFIG } from '../blocks/torch-claim.js'
import { towerModel } from '../blocks/tower-model.js'
import { evaluationTransform } from '../blocks/vit-file.js'
import { withWeights } from '../blocks/with-weights.js'
import { checkTensors } from '../check-tensors.js'
import { checkpointDigest } from '../digest.js'
import type { Candidate, Claim, Family, LocalCheckpoint, OpenContext } from '../family.js'
import type { ImageModel } from '../image-model.js'
import { inferMaeConfig, parseMaeConfig } from './config.js'
import { buildMae } from './graph.js'
import { isDecoderTensor, maeShapes } from './tensors.js'

const CONFIG = 'config.json'
const KEYS = ['model', 'state_dict']

export const mae: Family = {
  name: 'mae',
  title: 'MAE (config.json with model_type vit_mae, or mae_*_vit_*.pth)',
  claim,
  open,
}

async function claim(candidate: Candidate): Promise<Claim | undefined> {
  const type = candidate.file === undefined ? (await candidate.readJson(CONFIG))?.model_type : undefined
  if (type === 'vit_mae') {
    const weights = pickWeights(candidate.files)
    // RAE's decoder has a config.json of this type, too, and other files.
    return weights === undefined && candidate.files.includes('model.pt') ? undefined : claimWeights(candidate, weights)
  }
  if (type !== undefined) return undefined
  return claimTorchFile(candidate, {
    named: /^mae_.*vit.*\.pth$/,
    keys: KEYS,
    isMine: (shapes) =>
      ['cls_token', 'pos_embed', 'patch_embed.proj.weight', 'blocks.0.attn.qkv.bias'].every((name) =>
        shapes.has(name),
      ) && !shapes.has('blocks.0.ls1.gamma'),
  })
}

function claimWeights(candidate: Candidate, weights: string | undefined): Claim {
  if (weights === undefined) throw missingFile(candidate.ref, 'model.safetensors (nor pytorch_model.bin)')
  return { files: [CONFIG, weights] }
}

/** ViTMAEModel saved by itself has no prefix. */
const rename = (stored: string): string =>
  /^(embeddings|encoder|layernorm)\./.test(stored) ? `vit.${stored}` : stored.replace(/^module\./, '')

async function open(local: LocalCheckpoint, { cacheDir }: OpenContext): Promise<ImageModel> {
  const { folder, claim, name } = local
  const file = claim.files.at(-1)!
  const isOriginal = !claim.files.includes(CONFIG)
  const raw = await local.readJson(isOriginal ? HUB_CONFIG : CONFIG)
  return withWeights(folder, file, { keys: KEYS, rename }, async (weights) => {
    const config = isOriginal
      ? inferMaeConfig(weights.tensors, raw, `${folder}/${file}`)
      : parseMaeConfig(raw, `${folder}/${CONFIG}`)
    const shapes = maeShapes(config)
    checkTensors(shapes, weights.tensors, {
      place: folder,
      config: isOriginal ? 'its own sizes' : CONFIG,
      ignored: isDecoderTensor,
    })
    const digest = await checkpointDigest({ family: 'mae', ...config }, weights.files, cacheDir)
    const { classes, shape } = config
    const size = config.side * config.patch
    const tuned = 'it is fine-tuned as a classifier, without a final norm'
    return towerModel({
      family: 'mae',
      name,
      folder,
      cacheDir,
      digest,
      weights,
      settings: raw ?? { ...config },
      shapes,
      isImage: () => true,
      image: { ...config, size: { height: size, width: size } },
      columns: (count, layers) =>
        classes > 0
          ? [{ name: 'logits', dtype: 'float32', shape: [classes] }]
          : tokenColumns(count, shape.dim, true, layers),
      depth: classes > 0 ? 0 : config.depth,
      probed: { output: classes > 0 ? 'pooled' : 'cls', dim: shape.dim },
      buildImage: (graph, spec) => buildMae(graph, config, weights.readFloat32, spec),
      transform: (_job, wanted) => evaluationTransform(wanted),
      lacks: classes > 0 ? { cls: tuned, patches: tuned, layers: tuned } : {},
    })
  })
}
