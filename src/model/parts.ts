/** Parts of a model that it may lack, and the one way from a graph's builder to a compiled graph. */
import { usageError } from '../errors.js'
import type { GraphBuilder } from '../graph/builder.js'
import { compileGraph, type GraphFile } from '../graph/compile.js'
import type { Precision } from '../graph/precision.js'
import type { ImageModel, ModelOutput, OptionalPart, PixelDecoder, TextTower } from './image-model.js'

const PARTS: Record<OptionalPart, { code: string; title: string; suggestions: string[] }> = {
  decoder: { code: 'no_decoder', title: 'pixel decoder', suggestions: ['use a model that reconstructs images'] },
  text: { code: 'no_text_tower', title: 'text tower', suggestions: ['use a checkpoint that was trained with CLIP'] },
}

function because(model: ImageModel, what: OptionalPart | ModelOutput): string {
  const reason = model.lacks[what]
  return reason === undefined ? '' : ` (${reason})`
}

function missingPart(model: ImageModel, part: OptionalPart): Error {
  const { code, title, suggestions } = PARTS[part]
  return usageError(code, `The model ${model.name} has no ${title}${because(model, part)}`, suggestions)
}

/** The pixel decoder. Throws usage error `no_decoder`. */
export function decoderOf(model: ImageModel): PixelDecoder {
  if (!model.decoder) throw missingPart(model, 'decoder')
  return model.decoder
}

/** The text tower. Throws usage error `no_text_tower`. */
export function textOf(model: ImageModel): TextTower {
  if (!model.text) throw missingPart(model, 'text')
  return model.text
}

/** Names of a model's outputs, as `--outputs` takes them. */
export function outputNames(model: ImageModel): ModelOutput[] {
  const names = model.outputs(model.imageSize).map(({ name }) => name as ModelOutput)
  return model.depth > 0 ? [...names, 'layers'] : names
}

/** Throws usage error `output_unavailable` for an output that the model lacks. */
export function assertOutput(model: ImageModel, output: ModelOutput): void {
  const names = outputNames(model)
  if (names.includes(output)) return
  throw usageError('output_unavailable', `The model ${model.name} has no output "${output}"${because(model, output)}`, [
    `choose among ${names.join(', ')}, pixels`,
  ])
}

/** Throws usage error `precision_unavailable` where the model has no graphs of a precision. */
export function assertPrecision(model: Pick<ImageModel, 'name' | 'refuses'>, precision: Precision): void {
  const reason = model.refuses(precision)
  if (reason === undefined) return
  throw usageError('precision_unavailable', `The model ${model.name} does not offer ${precision}: ${reason}`, [
    'use --precision auto',
  ])
}

/** Why families whose large channels nobody evens out before quantisation (vtp/balance.ts does it) have no int8. */
export function refusesInt8(precision: Precision): string | undefined {
  return precision === 'int8' ? 'channels of large values are evened out for VTP only' : undefined
}

export interface PartSource {
  model: Pick<ImageModel, 'name' | 'digest' | 'cacheDir' | 'refuses'>
  /** Names the file of weights, which the graphs of one part and precision share: `encoder`, `decoder`, `text`. */
  tower: string
  precision: Precision
  /** Everything besides the checkpoint that shapes the graph. */
  spec: object
  build: (graph: GraphBuilder) => Promise<void>
}

/** Compiles the graph of a part, or finds it in the cache. */
export async function compilePart({ model, tower, precision, spec, build }: PartSource): Promise<GraphFile> {
  assertPrecision(model, precision)
  const { cacheDir, digest: modelDigest } = model
  return compileGraph({ cacheDir, modelDigest, tower, precision, spec, build })
}
