/** What CLIP, SigLIP, DINOv2, MAE and their like are to the rest of the program: an image tower, perhaps a text tower, nothing that decodes. */
import { usageError } from '../../errors.js'
import type { GraphBuilder } from '../../graph/builder.js'
import type { Weights } from '../../io/weights.js'
import type { TensorColumn } from '../../types.js'
import type { Shapes } from '../check-tensors.js'
import type { EncoderSpec, ImageModel, ImageSize, Job, Probabilities, TextTower, Tokenizer } from '../image-model.js'
import { blockActivations, countElements, networkLoad } from '../memory.js'
import { compilePart, refusesInt8 } from '../parts.js'
import { gridOf } from './patches.js'
import { buildTextTower, type TextTowerTensors, tokensNeeded } from './text-tower.js'
import type { TransformerShape } from './transformer.js'

export interface TowerModel {
  family: string
  name: string
  folder: string
  cacheDir: string
  digest: string
  weights: Weights
  settings: Readonly<Record<string, unknown>>
  /** Shapes of all tensors of the towers; scalars of the logits come on top. */
  shapes: Shapes
  /** Whether a tensor is the image tower's. */
  isImage: (name: string) => boolean
  image: { shape: TransformerShape; depth: number; patch: number; size: ImageSize }
  /** Columns for one image, float32; `count` patches. */
  columns: (count: number, layers: readonly number[]) => TensorColumn[]
  probed: ImageModel['probed']
  /** Blocks that `layers` can ask for; default all. */
  depth?: number
  buildImage: (graph: GraphBuilder, spec: EncoderSpec) => Promise<void>
  text?: ContrastiveText
  transform: (job: Job, size: ImageSize) => string
  assertSize?: (size: ImageSize) => void
  lacks: ImageModel['lacks']
}

export interface ContrastiveText {
  tower: TextTowerTensors
  openTokenizer: () => Promise<Tokenizer>
  probabilities: Probabilities
}

export function towerModel(source: TowerModel): ImageModel {
  const { name, digest, cacheDir, weights, image, text } = source
  const base = {
    name,
    digest,
    cacheDir,
    refuses: refusesInt8,
  } satisfies Pick<ImageModel, 'name' | 'digest' | 'cacheDir' | 'refuses'>
  const elements = (wanted: (name: string) => boolean): number =>
    countElements([...source.shapes].filter(([name]) => wanted(name)).map(([, shape]) => shape))
  const scalars = ['logit_scale', 'logit_bias'].filter((scalar) => weights.tensors.has(scalar)).length
  return {
    ...base,
    family: source.family,
    folder: source.folder,
    parameters: {
      parts: [
        { key: 'imageEncoder', title: 'image encoder', count: elements(source.isImage) },
        ...(text
          ? [{ key: 'textEncoder', title: 'text encoder', count: elements((tensor) => !source.isImage(tensor)) }]
          : []),
      ],
      total: elements(() => true) + scalars,
    },
    settings: source.settings,
    imageSize: image.size,
    transform: (job, size) => source.transform(job, size ?? image.size),
    assertSize: source.assertSize ?? ((size) => assertHoldsPatch(size, image.patch)),
    depth: source.depth ?? image.depth,
    outputs: (size, layers = []) => {
      const { h, w } = gridOf({ ...size, patch: image.patch })
      return source.columns(h * w, layers)
    },
    probed: source.probed,
    protocol: {},
    compileEncoder: (spec) =>
      compilePart({
        model: base,
        tower: 'encoder',
        precision: spec.precision,
        spec,
        build: (graph) => source.buildImage(graph, spec),
      }),
    encoderLoad: (size, precision) => {
      const { h, w } = gridOf({ ...size, patch: image.patch })
      const activations = blockActivations({ tokens: h * w + 1, ...image.shape })
      return networkLoad({ weights: elements(source.isImage), activations, image: size }, precision)
    },
    text: text && textTowerOf(base, weights, text),
    lacks: {
      decoder: 'it does not reconstruct images',
      latents: 'it has no latents',
      codes: 'it is not quantised',
      logits: 'it has no classification head',
      ...(text ? {} : { text: 'it knows images only', clip: 'it has no embedding that texts share' }),
      ...source.lacks,
    },
    close: () => weights.close(),
  }
}

/** The text tower of a model whose scalars are `logit_scale` and, perhaps, `logit_bias`. */
export function textTowerOf(
  base: Pick<ImageModel, 'name' | 'digest' | 'cacheDir' | 'refuses'>,
  weights: Weights,
  { tower, openTokenizer, probabilities }: ContrastiveText,
): TextTower {
  return {
    dim: tower.embedding,
    length: tower.length,
    probabilities,
    tokensNeeded: tokensNeeded(tower.pool, tower.shape.causal ?? false),
    openTokenizer,
    compile: (spec = {}) =>
      compilePart({
        model: base,
        tower: 'text',
        precision: spec.precision ?? 'fp32',
        spec,
        build: (graph) => buildTextTower(graph, tower, spec),
      }),
    async logitScale() {
      const [logScale = 0] = await weights.readFloat32('logit_scale')
      const bias = weights.tensors.has('logit_bias') ? (await weights.readFloat32('logit_bias'))[0]! : 0
      return { scale: Math.fround(Math.exp(logScale)), bias }
    },
  }
}

/** The patch convolution drops what is beyond a multiple of the patch. */
export function assertHoldsPatch({ height, width }: ImageSize, patch: number): void {
  if (height >= patch && width >= patch) return
  throw usageError('bad_image_size', `The image size ${height}×${width} is smaller than one patch of the model`, [
    `use at least ${patch}×${patch}`,
  ])
}

/** The error for a vocabulary that no known tokenizer has. */
export function otherVocabulary(name: string, seen: number, tokenizer: string): Error {
  return usageError('other_vocabulary', `The model ${name} has a vocabulary of ${seen} tokens; ${tokenizer}`, [
    'use a checkpoint that was trained with a published tokenizer',
  ])
}
