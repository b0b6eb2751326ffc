/** DINOv2 as a family, with and without registers: the hub's files, and transformers' layout. */
import { usageError } from '../../errors.js'
import { missingFile, pickWeights } from '../../io/weights.js'
import { tokenColumns } from '../blocks/outputs.js'
import { claimTorchFile, HUB_CONFIG } from '../blocks/torch-claim.js'
import { assertHoldsPatch, towerModel } from '../blocks/tower-model.js'
import { evaluationTransform } from '../blocks/vit-file.js'
import { withWeights } from '../blocks/with-weights.js'
import { checkTensors } from '../check-tensors.js'
import { checkpointDigest } from '../digest.js'
import type { Candidate, Claim, Family, LocalCheckpoint, OpenContext } from '../family.js'
import type { ImageModel, ImageSize } from '../image-model.js'
import { type Dinov2Config, EVALUATION_SIZE, inferDinov2Config, parseDinov2Config } from './config.js'
import { buildDinov2 } from './graph.js'
import { dinov2Shapes } from './tensors.js'

const CONFIG = 'config.json'
const KEYS = ['model', 'state_dict', 'teacher']

export const dinov2: Family = {
  name: 'dinov2',
  title: 'DINOv2 (config.json with model_type dinov2, or dinov2_vit*14*_pretrain.pth)',
  claim,
  open,
}

async function claim(candidate: Candidate): Promise<Claim | undefined> {
  const type = candidate.file === undefined ? (await candidate.readJson(CONFIG))?.model_type : undefined
  if (type === 'dinov2' || type === 'dinov2_with_registers') {
    const weights = pickWeights(candidate.files)
    if (weights === undefined) throw missingFile(candidate.ref, 'model.safetensors (nor pytorch_model.bin)')
    return { files: [CONFIG, weights] }
  }
  if (type !== undefined) return undefined
  return claimTorchFile(candidate, {
    named: /^dinov2_vit.*\.pth$/,
    keys: KEYS,
    isMine: (shapes) =>
      shapes.has('blocks.0.ls1.gamma') && shapes.has('cls_token') && shapes.has('patch_embed.proj.weight'),
  })
}

/** Image classifiers of transformers keep the backbone below this prefix. */
const rename = (stored: string): string => stored.replace(/^(dinov2|dinov2_with_registers|module)\./, '')

async function open(local: LocalCheckpoint, { cacheDir }: OpenContext): Promise<ImageModel> {
  const { folder, claim, name } = local
  const file = claim.files.at(-1)!
  const isHub = !claim.files.includes(CONFIG)
  const raw = await local.readJson(isHub ? HUB_CONFIG : CONFIG)
  return withWeights(folder, file, { keys: KEYS, rename }, async (weights) => {
    const config = isHub
      ? inferDinov2Config(weights.tensors, raw, `${folder}/${file}`)
      : parseDinov2Config(raw, `${folder}/${CONFIG}`)
    const shapes = dinov2Shapes(config)
    checkTensors(shapes, weights.tensors, { place: folder, config: isHub ? 'its own sizes' : CONFIG })
    const digest = await checkpointDigest({ family: 'dinov2', ...config }, weights.files, cacheDir)
    const size = EVALUATION_SIZE % config.patch === 0 ? EVALUATION_SIZE : config.side * config.patch
    return towerModel({
      family: 'dinov2',
      name,
      folder,
      cacheDir,
      digest,
      weights,
      settings: raw ?? { ...config },
      shapes,
      isImage: () => true,
      image: { ...config, size: { height: size, width: size } },
      columns: (count, layers) => tokenColumns(count, config.shape.dim, true, layers),
      probed: { output: 'cls', dim: config.shape.dim },
      buildImage: (graph, spec) => buildDinov2(graph, config, weights.readFloat32, spec),
      transform: (_job, wanted) => evaluationTransform(wanted),
      assertSize: (wanted) => assertWholePatches(wanted, config),
      lacks: {},
    })
  })
}

/** The hub's code asserts that patches cover the image; transformers' drops the remainder. */
function assertWholePatches({ height, width }: ImageSize, { layout, patch }: Dinov2Config): void {
  assertHoldsPatch({ height, width }, patch)
  if (layout === 'transformers' || (height % patch === 0 && width % patch === 0)) return
  const near = (x: number): number => Math.max(patch, Math.round(x / patch) * patch)
  throw usageError(
    'bad_image_size',
    `The image size ${height}×${width} is not a multiple of the model's patch size ${patch}`,
    [`use ${near(height)}×${near(width)}`],
  )
}
