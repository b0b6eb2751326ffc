/**
 * What the user asked for, and what it means for a model: the blocks, the tensor columns of the shards, the
 * transform. Everything impossible is a usage error that says what is possible.
 */
import { usageError } from '../../errors.js'
import { parsePixelTransform, type Transform } from '../../image/transform.js'
import type { ShardFormat } from '../../io/shards/index.js'
import type { SourceOptions } from '../../io/sources/index.js'
import { assertOutput, type ImageModel, type ImageSize, textOf } from '../../model/index.js'
import type { TensorColumn } from '../../types.js'
import { OUTPUTS, type Output } from '../outputs.js'
import { CAPTION_COLUMN } from '../stream/texts.js'

export interface PlanRequest {
  source: string
  sourceOptions?: SourceOptions
  dest: string
  model: string
  cacheDir?: string
  outputs: Output[]
  /** Whether the source is a file of texts, one per line, and not of images. */
  texts?: boolean
  /** Add the output `text` when the source has captions. */
  captionsToo?: boolean
  /** Block indices, or the last n blocks; needed when `layers` is among the outputs. */
  layers?: number[] | { last: number }
  /** Whether the final norm is applied to intermediate layers (as the reference's default). */
  layersNorm: boolean
  /** Draw latents of a model that gives a distribution, with this seed; default its mean. */
  sampleSeed?: number
  flip: boolean
  format: ShardFormat
  dtype: 'float16' | 'float32'
  /** Transform spec; default resize to the image size. */
  transform?: string
  /** Side or height × width of the model's input; default the checkpoint's. */
  imageSize?: { height: number; width: number }
  shardRows: number
  precision: string
  device: string
  /** Of the machine that makes the plan, if it is to encode, too (engine/processor.ts). */
  processor?: string
  overwrite?: boolean
  /** One of several workers: a plan that DEST holds is taken as it is, and its source is not listed again. */
  shared?: boolean
  signal?: AbortSignal
  onListing?: (images: number) => void
  /** How often the model download progresses, and the like. */
  onNote?: (line: string) => void
}

/** The blocks whose features are wanted, in ascending order. Throws usage error `bad_layers`. */
export function resolveLayers(layers: PlanRequest['layers'], depth: number): number[] {
  if (layers === undefined) {
    throw usageError('bad_layers', 'The output "layers" needs --layers', [
      `--layers 4 takes the last four of the model's ${depth} blocks; --layers 2,5 takes blocks 2 and 5 (0-based)`,
    ])
  }
  const list = Array.isArray(layers)
    ? [...layers].sort((a, b) => a - b)
    : Array.from({ length: layers.last }, (_, i) => depth - layers.last + i)
  const bad = list.find((k, i) => !Number.isInteger(k) || k < 0 || k >= depth || list[i - 1] === k)
  if (list.length === 0 || bad !== undefined) {
    const what = Array.isArray(layers) ? layers.join(',') : `the last ${layers.last}`
    throw usageError(
      'bad_layers',
      `--layers asks for ${what}, but the model has ${depth} blocks (0 to ${depth - 1}), each once`,
      [`use a number from 1 to ${depth} for the last n blocks, or a list such as 0,${depth - 1}`],
    )
  }
  return list
}

/** The tensor columns of a run, in the order of the shard's schema. Throws usage errors for impossible outputs. */
export function planColumns(
  model: ImageModel,
  request: PlanRequest,
  transform: Transform,
  layers: number[],
): TensorColumn[] {
  const { height, width } = transform
  const available = model.outputs(transform, layers)
  const columns: TensorColumn[] = []
  for (const output of OUTPUTS.filter((name) => request.outputs.includes(name))) {
    if (output === 'text') {
      columns.push(textColumn(model, request))
      continue
    }
    if (output === 'pixels') {
      columns.push({ name: 'pixels', dtype: 'uint8', shape: [height, width, 3] })
      continue
    }
    assertOutput(model, output)
    const found = available.filter((c) => (output === 'layers' ? c.name.startsWith('layer_') : c.name === output))
    columns.push(...found.map((c) => (c.dtype === 'float32' ? { ...c, dtype: request.dtype } : c)))
  }
  if (request.flip) {
    const images = columns.filter((c) => c.name !== CAPTION_COLUMN)
    columns.push(...images.map((c) => ({ ...c, name: `${c.name}_flip` })))
  }
  return columns
}

/** How the plan's latents are made: only said of models that give a distribution. Throws usage error `no_distribution`. */
export function planLatents(
  model: ImageModel,
  { outputs, sampleSeed }: Pick<PlanRequest, 'outputs' | 'sampleSeed'>,
): { draw: 'mean' | 'sample'; seed?: number } | undefined {
  if (outputs.includes('latents') && model.drawsLatents)
    return sampleSeed === undefined ? { draw: 'mean' } : { draw: 'sample', seed: sampleSeed }
  if (sampleSeed === undefined) return undefined
  throw usageError(
    'no_distribution',
    outputs.includes('latents')
      ? `--latents sample: ${model.name} gives latents, not a distribution to draw them from`
      : '--latents sample needs the output "latents"',
    ['leave --latents out', "VA-VAE and MAR's KL autoencoder give a distribution"],
  )
}

function textColumn(model: ImageModel, request: PlanRequest): TensorColumn {
  return { name: request.texts ? 'clip' : CAPTION_COLUMN, dtype: request.dtype, shape: [textOf(model).dim] }
}

/** The transform of the request, checked against what the model takes. Throws usage errors. */
export function planTransform(
  request: Pick<PlanRequest, 'transform' | 'imageSize'>,
  model: ImageModel,
  needsModel: boolean,
): Transform {
  const size: ImageSize | undefined = request.imageSize
  const transform = parsePixelTransform(request.transform ?? model.transform('encode', size))
  if (size && (transform.height !== size.height || transform.width !== size.width)) {
    throw usageError(
      'size_conflict',
      `--transform ${transform.spec} gives ${transform.height}×${transform.width} pixels, --image-size asks for ${size.height}×${size.width}`,
      ['leave --image-size out: the transform decides the size'],
    )
  }
  if (needsModel) model.assertSize(transform)
  return transform
}
