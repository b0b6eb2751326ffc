/**
 * CLIP and OpenCLIP as a family: open_clip's layout (`open_clip_config.json`) and transformers' (`config.json` with
 * model_type clip). OpenAI's own `.pt` files are TorchScript archives and are refused.
 */
import { usageError, VtpError } from '../../errors.js'
import { missingFile, openWeights, pickWeights } from '../../io/weights.js'
import { tokenColumns } from '../blocks/outputs.js'
import { gridOf } from '../blocks/patches.js'
import { buildTextTower } from '../blocks/text-tower.js'
import { checkpointDigest } from '../digest.js'
import type { Candidate, Claim, Family, LocalCheckpoint, OpenContext } from '../family.js'
import type { ImageModel, ImageSize, Job } from '../image-model.js'
import { blockActivations, countElements, networkLoad } from '../memory.js'
import { compilePart } from '../parts.js'
import { type ClipConfig, parseOpenClipConfig, parseTransformersConfig } from './config.js'
import { buildClipImage, clipTextTower } from './graph.js'
import { checkClip, clipShapes, readLogits } from './tensors.js'

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
    return describe({ config, raw: raw!, weights, digest, name, folder, cacheDir })
  } catch (error) {
    await weights.close()
    throw error
  }
}

interface Opened {
  config: ClipConfig
  raw: Record<string, unknown>
  weights: Awaited<ReturnType<typeof openWeights>>
  digest: string
  name: string
  folder: string
  cacheDir: string
}

function describe({ config, raw, weights, digest, name, folder, cacheDir }: Opened): ImageModel {
  const { image, text, embedding } = config
  const read = weights.readFloat32
  const base = {
    name,
    digest,
    cacheDir,
    refuses: (precision: string) =>
      precision === 'int8' ? 'it was not shown that int8 pays for this family' : undefined,
  } satisfies Pick<ImageModel, 'name' | 'digest' | 'cacheDir' | 'refuses'>
  const columns = (size: ImageSize, layers: readonly number[] = []): ReturnType<ImageModel['outputs']> => {
    const { h, w } = gridOf({ ...size, patch: image.patch })
    return [
      { name: 'clip', dtype: 'float32', shape: [embedding] },
      ...tokenColumns(h * w, image.shape.dim, true, layers),
    ]
  }
  return {
    ...base,
    family: 'clip',
    folder,
    parameters: countParameters(config),
    settings: raw,
    imageSize: image.size,
    transform: (job, size) => transformFor(config, job, size),
    assertSize: (size) => assertHoldsPatch(size, image.patch),
    depth: image.depth,
    outputs: columns,
    probed: 'cls',
    protocol: {},
    compileEncoder: (spec) =>
      compilePart({
        model: base,
        tower: 'encoder',
        precision: spec.precision,
        spec,
        build: (graph) => buildClipImage(graph, config, read, spec),
      }),
    encoderLoad: (size, precision) => {
      const { h, w } = gridOf({ ...size, patch: image.patch })
      const activations = blockActivations({ tokens: h * w + 1, ...image.shape })
      return networkLoad({ weights: elementsOf(config, isImage), activations, image: size }, precision)
    },
    text: {
      dim: embedding,
      length: text.length,
      probabilities: 'softmax',
      async openTokenizer() {
        const { createTokenizer, VOCAB_SIZE } = await import('../text/tokenizer.js')
        if (text.vocabulary === VOCAB_SIZE) return createTokenizer()
        throw usageError(
          'other_vocabulary',
          `The model ${name} has a vocabulary of ${text.vocabulary} tokens; CLIP's tokenizer has ${VOCAB_SIZE}`,
          ['use a checkpoint that was trained with the CLIP tokenizer'],
        )
      },
      compile: (spec = {}) =>
        compilePart({
          model: base,
          tower: 'text',
          precision: spec.precision ?? 'fp32',
          spec,
          build: (graph) => buildTextTower(graph, clipTextTower(config, read), spec),
        }),
      logitScale: () => readLogits(read, weights.tensors),
    },
    lacks: {
      decoder: 'CLIP does not reconstruct images',
      latents: 'CLIP has no latents',
      codes: 'CLIP is not quantised',
      logits: 'it has no classification head',
    },
    close: () => weights.close(),
  }
}

function transformFor({ image, resize, interpolation }: ClipConfig, _job: Job, size: ImageSize = image.size): string {
  const { height, width } = size
  if (resize === 'squash' || height !== width) return `resize(${height},${width},${interpolation})`
  return `resize(${height},${interpolation})|center-crop(${height})`
}

/** The patch convolution drops what is beyond a multiple of the patch. */
export function assertHoldsPatch({ height, width }: ImageSize, patch: number): void {
  if (height >= patch && width >= patch) return
  throw usageError('bad_image_size', `The image size ${height}×${width} is smaller than one patch of the model`, [
    `use at least ${patch}×${patch}`,
  ])
}

const isImage = (name: string): boolean => /^(visual\.|vision_model\.|visual_projection)/.test(name)

function elementsOf(config: ClipConfig, wanted: (name: string) => boolean): number {
  return countElements([...clipShapes(config)].filter(([name]) => wanted(name)).map(([, shape]) => shape))
}

function countParameters(config: ClipConfig): ImageModel['parameters'] {
  const total = elementsOf(config, () => true) + 1 + (config.logitBias ? 1 : 0)
  const image = elementsOf(config, isImage)
  return {
    parts: [
      { key: 'imageEncoder', title: 'image encoder', count: image },
      { key: 'textEncoder', title: 'text encoder', count: elementsOf(config, (name) => !isImage(name)) },
    ],
    total,
  }
}
