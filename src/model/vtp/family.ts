/** VTP (MiniMax-AI/VTP 5ce1eb6) as a family: what its configuration means to the rest of the program. */
import { usageError } from '../../errors.js'
import { IMAGENET_MEAN, IMAGENET_STD } from '../../image/normalize.js'
import { tokensNeeded } from '../blocks/text-tower.js'
import type { Family, LocalCheckpoint, OpenContext } from '../family.js'
import type { ImageModel, ImageSize, Job, ParameterCount, PixelDecoder, TextTower } from '../image-model.js'
import { blockActivations, countElements, networkLoad } from '../memory.js'
import { compilePart } from '../parts.js'
import { claimCheckpoint, openCheckpoint, type VtpCheckpoint } from './checkpoint.js'
import { DECODER_UPSCALE, latentChannels, textLength, type VtpConfig } from './config.js'
import { buildDecoder } from './decoder.js'
import { buildEncoder, encoderColumns } from './encoder.js'
import { decoderShape, expectedTensors, type VitShape, visionShape } from './tensors.js'
import { buildText } from './text.js'

export const vtp: Family = {
  name: 'vtp',
  title: 'VTP (config.json and model.safetensors)',
  claim: claimCheckpoint,
  open: openVtp,
}

type Base = Pick<ImageModel, 'name' | 'digest' | 'cacheDir' | 'refuses'>

async function openVtp(local: LocalCheckpoint, { cacheDir }: OpenContext): Promise<ImageModel> {
  const checkpoint = await openCheckpoint(local, cacheDir)
  const { config, weights, digest } = checkpoint
  const base: Base = { name: local.name, digest, cacheDir, refuses: () => undefined }
  const patch = config.vision_patch_size
  const size = config.image_size
  return {
    ...base,
    family: 'vtp',
    folder: local.folder,
    parameters: countParameters(config),
    settings: config,
    imageSize: { height: size, width: size },
    transform: (job, wanted) => defaultTransform(job, wanted ?? { height: size, width: size }),
    assertSize: (wanted) => assertWholePatches(wanted, patch),
    depth: config.vision_depth,
    outputs: ({ height, width }, layers) => encoderColumns(config, height, width, [...(layers ?? [])]),
    probed: { output: 'cls', dim: config.vision_embed_dim },
    protocol: {},
    compileEncoder: (spec) =>
      compilePart({
        model: base,
        tower: 'encoder',
        precision: spec.precision,
        spec,
        build: (graph) => buildEncoder(graph, config, weights.readFloat32, spec),
      }),
    encoderLoad: (image, precision) => {
      const tokens = Math.floor(image.height / patch) * Math.floor(image.width / patch) + 1
      const { dim, ffnWidth } = visionShape(config)
      const activations = blockActivations({ tokens, dim, hidden: ffnWidth })
      return networkLoad({ weights: elementsOf(config, ['trunk.', 'visual_proj.']), activations, image }, precision)
    },
    decoder: config.train_reconstruction ? openDecoder(base, checkpoint) : undefined,
    text: config.train_clip ? openText(base, checkpoint) : undefined,
    lacks: {
      ...(config.train_reconstruction ? {} : { decoder: 'train_reconstruction is false' }),
      ...(config.train_clip ? {} : { text: 'train_clip is false', clip: 'train_clip is false' }),
    },
    close: () => weights.close(),
  }
}

function openDecoder(base: Base, { config, weights }: VtpCheckpoint): PixelDecoder {
  const patch = config.vision_patch_size
  const shape: VitShape = decoderShape(config)
  return {
    latentShape: ({ height, width }) => [latentChannels(config), Math.floor(height / patch), Math.floor(width / patch)],
    imageSize: ({ height, width }) => ({ height: height * DECODER_UPSCALE, width: width * DECODER_UPSCALE }),
    mean: IMAGENET_MEAN,
    std: IMAGENET_STD,
    rounding: 'truncate',
    comparesNormalised: true,
    compile: (spec) =>
      compilePart({
        model: base,
        tower: 'decoder',
        precision: spec.precision ?? 'fp32',
        spec,
        build: (graph) => buildDecoder(graph, config, weights.readFloat32, spec),
      }),
    load: ({ height, width }, precision) => {
      const image = { height: height * DECODER_UPSCALE, width: width * DECODER_UPSCALE }
      const activations = blockActivations({ tokens: height * width, dim: shape.dim, hidden: shape.ffnWidth })
      return networkLoad({ weights: elementsOf(config, ['pixel_decoder.']), activations, image }, precision)
    },
  }
}

function openText(base: Base, { config, weights }: VtpCheckpoint): TextTower {
  return {
    dim: config.text_embed_dim,
    length: textLength(config),
    probabilities: 'softmax',
    tokensNeeded:
      config.text_pool_type === 'none' ? undefined : tokensNeeded(config.text_pool_type, !config.text_no_causal_mask),
    async openTokenizer() {
      const { createTokenizer, VOCAB_SIZE } = await import('../text/tokenizer.js')
      if (config.text_vocab_size !== VOCAB_SIZE) {
        throw usageError(
          'other_vocabulary',
          `The model ${base.name} has a vocabulary of ${config.text_vocab_size} tokens; CLIP's tokenizer has ${VOCAB_SIZE}`,
          ['use a checkpoint that was trained with the CLIP tokenizer'],
        )
      }
      if (config.text_pool_type === 'none') {
        throw usageError(
          'text_not_pooled',
          `The model ${base.name} has no single embedding per text (text_pool_type none)`,
        )
      }
      return createTokenizer()
    },
    compile: (spec = {}) =>
      compilePart({
        model: base,
        tower: 'text',
        precision: spec.precision ?? 'fp32',
        spec,
        build: (graph) => buildText(graph, config, weights.readFloat32, spec),
      }),
    async logitScale() {
      // As get_clip_logits uses them.
      const [logScale = 0] = await weights.readFloat32('logit_scale')
      const bias = weights.tensors.has('logit_bias') ? (await weights.readFloat32('logit_bias'))[0]! : 0
      return { scale: Math.fround(Math.exp(logScale)), bias }
    },
  }
}

/** The model card's quick start; the official scripts of reconstruction and of the probe. */
function defaultTransform(job: Job, { height, width }: ImageSize): string {
  if (job === 'probe') return 'resize(256,bicubic)|center-crop(224)'
  if (job === 'reconstruction' && height === width) return `adm-crop(${height})`
  return `resize(${height},${width},bilinear)`
}

function assertWholePatches({ height, width }: ImageSize, patch: number): void {
  if (height % patch === 0 && width % patch === 0) return
  const near = (x: number): number => Math.max(patch, Math.round(x / patch) * patch)
  throw usageError(
    'bad_image_size',
    `The image size ${height}×${width} is not a multiple of the model's patch size ${patch}`,
    [`use ${near(height)}×${near(width)}`],
  )
}

function elementsOf(config: VtpConfig, prefixes: string[]): number {
  const own = [...expectedTensors(config)].filter(([name]) => prefixes.some((prefix) => name.startsWith(prefix)))
  return countElements(own.map(([, shape]) => shape))
}

/** Per tower as the model card counts them: the blocks, and for texts without embeddings and projection. Buffers are not parameters. */
function countParameters(config: VtpConfig): ImageModel['parameters'] {
  const parts: (ParameterCount & { prefix: string })[] = [
    { key: 'visionEncoder', title: 'vision encoder', prefix: 'trunk.', count: 0 },
    { key: 'pixelDecoder', title: 'pixel decoder', prefix: 'pixel_decoder.', count: 0 },
    { key: 'textEncoder', title: 'text encoder', prefix: 'text_transformer.', count: 0 },
  ]
  let total = 0
  for (const [name, shape] of expectedTensors(config)) {
    if (name.endsWith('rope_embed.periods')) continue
    const size = countElements([shape])
    total += size
    for (const part of parts) if (name.startsWith(part.prefix)) part.count += size
  }
  return { parts: parts.map(({ key, title, count }) => ({ key, title, count })), total }
}
