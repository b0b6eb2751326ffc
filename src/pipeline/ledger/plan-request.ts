/**
 * What the user asked for, and what it means for a model: the blocks, the tensor columns of the shards, the
 * transform. Everything impossible is a usage error that says what is possible.
 */
import { usageError } from '../../errors.js'
import { parseTransform, type Transform } from '../../image/transform.js'
import type { ShardFormat } from '../../io/shards/index.js'
import type { SourceOptions } from '../../io/sources/index.js'
import { describeOutputs, type Model } from '../../model/index.js'
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
  model: Model,
  request: PlanRequest,
  transform: Transform,
  layers: number[],
): TensorColumn[] {
  const { height, width } = transform
  const available = describeOutputs(model, height, width, layers)
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
    const found = available.filter((c) => (output === 'layers' ? c.name.startsWith('layer_') : c.name === output))
    if (found.length === 0) {
      throw usageError('output_unavailable', `The model ${model.name} has no output "${output}"`, [
        `choose among ${[...new Set(available.map((c) => c.name.replace(/^layer_.*/, 'layers')))].join(', ')}, pixels`,
      ])
    }
    columns.push(...found.map((c) => ({ ...c, dtype: request.dtype })))
  }
  if (request.flip) {
    const images = columns.filter((c) => c.name !== CAPTION_COLUMN)
    columns.push(...images.map((c) => ({ ...c, name: `${c.name}_flip` })))
  }
  return columns
}

function textColumn(model: Model, request: PlanRequest): TensorColumn {
  const { train_clip, text_embed_dim } = model.config
  if (!train_clip) {
    throw usageError('no_text_tower', `The model ${model.name} has no text tower (train_clip is false)`, [
      'use a checkpoint that was trained with CLIP',
    ])
  }
  return { name: request.texts ? 'clip' : CAPTION_COLUMN, dtype: request.dtype, shape: [text_embed_dim] }
}

/** The transform of the request, checked against the model's patch size. Throws usage errors. */
export function planTransform(
  request: Pick<PlanRequest, 'transform' | 'imageSize'>,
  model: Model,
  needsModel: boolean,
): Transform {
  const size = request.imageSize ?? { height: model.config.image_size, width: model.config.image_size }
  const transform = parseTransform(request.transform ?? `resize(${size.height},${size.width},bilinear)`)
  if (request.imageSize && (transform.height !== size.height || transform.width !== size.width)) {
    throw usageError(
      'size_conflict',
      `--transform ${transform.spec} gives ${transform.height}×${transform.width} pixels, --image-size asks for ${size.height}×${size.width}`,
      ['leave --image-size out: the transform decides the size'],
    )
  }
  const patch = model.config.vision_patch_size
  if (needsModel && (transform.height % patch !== 0 || transform.width % patch !== 0)) {
    const near = (x: number): number => Math.max(patch, Math.round(x / patch) * patch)
    throw usageError(
      'bad_image_size',
      `The image size ${transform.height}×${transform.width} is no multiple of the model's patch size ${patch}`,
      [`use ${near(transform.height)}×${near(transform.width)}`],
    )
  }
  return transform
}
