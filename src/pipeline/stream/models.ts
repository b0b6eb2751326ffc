/** The models that a plan's outputs need, opened together and closed together. */
import { type ImageEncoder, openImageEncoder } from '../../engine/image-encoder.js'
import { openTextEncoder, type TextEncoder } from '../../engine/text-encoder.js'
import type { ModelOutput, Precision } from '../../model/index.js'
import type { EncodeRequest } from '../encode-request.js'
import type { PreparedPlan } from '../ledger/prepare-plan.js'

/** What computes a plan's outputs. */
export interface Models {
  /** Undefined when only pixels or texts are wanted. */
  encoder: ImageEncoder | undefined
  /** Undefined when the plan has no texts. */
  texts: TextEncoder | undefined
}

/** Opens what the plan's outputs need: all of it, or nothing when one of them fails. */
export async function openModels(prepared: PreparedPlan, request: EncodeRequest): Promise<Models> {
  const encoder = await openEncoder(prepared, request)
  try {
    return { encoder, texts: await openTexts(prepared, request) }
  } catch (error) {
    await encoder?.close()
    throw error
  }
}

/** Never throws. */
export async function closeModels({ encoder, texts }: Models): Promise<void> {
  await Promise.allSettled([encoder?.close(), texts?.close()])
}

async function openEncoder(prepared: PreparedPlan, request: EncodeRequest): Promise<ImageEncoder | undefined> {
  const { plan, model, transform } = prepared
  const outputs = plan.outputs.filter((name): name is ModelOutput => name !== 'pixels' && name !== 'text')
  if (outputs.length === 0) return undefined
  const draws = plan.latents?.draw === 'sample'
  const { dtype = 'float32' } = plan.columns.find((column) => column.dtype.startsWith('float')) ?? {}
  return openImageEncoder(model, {
    device: request.engine,
    size: transform,
    outputs: draws ? [...outputs, 'logvar'] : outputs,
    layers: plan.layers,
    layersNorm: plan.layersNorm,
    // What is drawn is rounded once.
    dtype: draws ? 'float32' : (dtype as 'float16' | 'float32'),
    precision: plan.precision as Precision,
    batchSize: request.batchSize,
    onNote: request.onNote,
  })
}

async function openTexts({ plan, model }: PreparedPlan, { engine }: EncodeRequest): Promise<TextEncoder | undefined> {
  if (!plan.outputs.includes('text')) return undefined
  return openTextEncoder(model, { device: engine, precision: plan.precision as Precision, many: true })
}

/** The seed that the plan's latents are drawn with; undefined where they are not drawn. */
export function sampleSeedOf({ latents }: PreparedPlan['plan']): number | undefined {
  return latents?.draw === 'sample' ? (latents.seed ?? 0) : undefined
}
