/** What models that make latents of images and images of latents are to the rest of the program. */
import type { GraphBuilder } from '../../graph/builder.js'
import type { Precision } from '../../graph/precision.js'
import type { Weights } from '../../io/weights.js'
import type { TensorColumn } from '../../types.js'
import type { DecoderSpec, EncoderSpec, ImageModel, ImageSize, Job, MemoryLoad, PixelRounding } from '../image-model.js'
import { countElements, networkLoad } from '../memory.js'
import { compilePart, refusesInt8 } from '../parts.js'
import { HALF } from './constants.js'
import { type ContrastiveText, textTowerOf } from './tower-model.js'

export interface AutoencoderModel {
  family: string
  name: string
  folder: string
  cacheDir: string
  digest: string
  weights: Weights
  settings: Readonly<Record<string, unknown>>
  parts: { key: string; title: string; owns: (name: string) => boolean }[]
  imageSize: ImageSize
  transform: (job: Job, size: ImageSize) => string
  assertSize: (size: ImageSize) => void
  columns: (size: ImageSize, layers: readonly number[]) => TensorColumn[]
  /** Blocks that `layers` can ask for; default none. */
  depth?: number
  probed?: ImageModel['probed']
  protocol: ImageModel['protocol']
  drawsLatents?: boolean
  takesFloats?: boolean
  buildEncoder: (graph: GraphBuilder, spec: EncoderSpec) => Promise<void>
  /** Activations that one image needs at the widest place of the encoder and of the decoder. */
  activations: (size: ImageSize) => number
  latentShape: (size: ImageSize) => [number, number, number]
  decodedSize: (grid: ImageSize) => ImageSize
  /** What brings the decoder's image to 0…1; default from −1…1. */
  mean?: readonly number[]
  std?: readonly number[]
  rounding: PixelRounding
  buildDecoder: (graph: GraphBuilder, spec: DecoderSpec) => Promise<void>
  text?: ContrastiveText
  lacks: ImageModel['lacks']
  /** Closes what belongs to it besides its weights. */
  close?: () => Promise<void>
}

export function autoencoderModel(source: AutoencoderModel): ImageModel {
  const { name, digest, cacheDir, weights, text } = source
  const base = {
    name,
    digest,
    cacheDir,
    refuses: refusesInt8,
  } satisfies Pick<ImageModel, 'name' | 'digest' | 'cacheDir' | 'refuses'>
  const elements = (owns: (name: string) => boolean): number =>
    countElements([...weights.tensors.values()].filter((tensor) => owns(tensor.name)).map(({ shape }) => shape))
  const load = (image: ImageSize, precision: Precision): MemoryLoad =>
    networkLoad({ weights: elements(() => true), activations: source.activations(image), image }, precision)
  return {
    ...base,
    family: source.family,
    folder: source.folder,
    parameters: {
      parts: source.parts.map(({ key, title, owns }) => ({ key, title, count: elements(owns) })),
      total: elements(() => true),
    },
    settings: source.settings,
    imageSize: source.imageSize,
    transform: (job, size) => source.transform(job, size ?? source.imageSize),
    assertSize: source.assertSize,
    depth: source.depth ?? 0,
    outputs: (size, layers = []) => source.columns(size, layers),
    probed: source.probed,
    protocol: source.protocol,
    ...(source.drawsLatents ? { drawsLatents: true } : {}),
    ...(source.takesFloats ? { takesFloats: true } : {}),
    compileEncoder: (spec) =>
      compilePart({
        model: base,
        tower: 'encoder',
        precision: spec.precision,
        spec,
        build: (graph) => source.buildEncoder(graph, spec),
      }),
    encoderLoad: load,
    decoder: {
      latentShape: source.latentShape,
      imageSize: source.decodedSize,
      mean: source.mean ?? HALF,
      std: source.std ?? HALF,
      rounding: source.rounding,
      compile: (spec) =>
        compilePart({
          model: base,
          tower: 'decoder',
          precision: spec.precision ?? 'fp32',
          spec,
          build: (graph) => source.buildDecoder(graph, spec),
        }),
      load: (grid, precision) => load(source.decodedSize(grid), precision),
    },
    text: text && textTowerOf(base, weights, text),
    lacks: source.lacks,
    async close() {
      await weights.close()
      await source.close?.()
    },
  }
}
