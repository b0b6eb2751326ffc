/** From what the user asked for to a plan and everything that it names, opened and checked against each other. */
import path from 'node:path'
import { processorKind } from '../../engine/processor.js'
import { usageError } from '../../errors.js'
import type { WeightsFile } from '../../metrics/networks/weights.js'
import { openListingIndex } from '../../metrics/probe/listing-index.js'
import { decoderOf, type ImageModel, openModel } from '../../model/index.js'
import type { VtpConfig } from '../../model/vtp/config.js'
import type { EncodeResult } from '../../pipeline/encode.js'
import { engineVersion, vtpVersion } from '../../version.js'
import { patchGanShapes } from '../patchgan.js'
import { lookForLpips } from '../perceptual.js'
import type { Shapes } from '../state.js'
import { checkLatents } from './check.js'
import { encodeLatents, type LatentPlan, readLatentPlan } from './latents.js'
import { openPairs, type Pairs } from './pairs.js'
import { type DecoderPlan, decoderPlans, KIND_NAME } from './plan.js'
import { type DecoderRecipe, readDecoderRecipe } from './recipe.js'
import type { DecoderRequest } from './request.js'
import { decoderShapes, openDecoderStart } from './start.js'

export interface PreparedDecoder {
  plan: DecoderPlan
  recipe: DecoderRecipe
  /** Of --init. */
  folder: string
  config: VtpConfig
  pairs: Pairs
  latents: LatentPlan
  /** Images that became no latents, by code. */
  rejects: Record<string, number>
  /** Number of the last step. */
  steps: number
  saveEvery: number
  /** Trained ones. */
  parameters: { decoder: number; discriminator: number }
}

const DEFAULT_SAVE_EVERY = 1000
/** Rows whose latents are computed anew before the first step and after the last one. */
export const CHECKED_ROWS = 8

/** What was given, checked before anything slow: recipe, model, weights. */
interface Given {
  recipe: DecoderRecipe
  perceptual: WeightsFile[] | undefined
  model: ImageModel
  config: VtpConfig
  steps: number
}

/** Opens and checks everything; no more than the number of steps when stopped while latents were made. Throws usage errors. */
export async function prepareDecoder(request: DecoderRequest): Promise<PreparedDecoder | { steps: number }> {
  const given = await readGiven(request)
  const { recipe, model, config, steps } = given
  try {
    const made = await latentsOf(request, recipe)
    if (!made) return { steps }
    const known = { model, init: request.init, given: request.latents !== undefined }
    const latents = await readLatentPlan(made.folder, known)
    assertSize(request, recipe, latents)
    const { source, dest, workers, maxPixels, limit, fields, stop, onNote, seed } = request
    const { batch, flip } = recipe.config
    const pairs = await openPairs({
      ...{ source, latents: made.folder, copies: path.join(dest, '_vtp', 'rows'), transform: latents.transform },
      ...{ batch, flip, seed, workers, maxPixels, limit, fields, stop, onNote },
    })
    try {
      await checkLatents({ model: model.folder, pairs, plan: latents, device: request.device, rows: CHECKED_ROWS })
    } catch (error) {
      await pairs.close()
      throw error
    }
    return {
      ...{ recipe, config, folder: model.folder, pairs, latents, rejects: made.rejects, steps },
      plan: planOf(request, given, pairs, latents),
      saveEvery: request.saveEvery ?? recipe.config.save_every ?? DEFAULT_SAVE_EVERY,
      parameters: {
        decoder: countElements(decoderShapes(config)),
        discriminator: countElements(patchGanShapes(recipe.config.disc)),
      },
    }
  } finally {
    await model.close()
  }
}

/** Throws what is wrong with recipe, model and given latents, and writes nothing. */
export async function checkDecoderRequest(request: DecoderRequest): Promise<void> {
  const { recipe, model } = await readGiven(request)
  try {
    if (request.latents === undefined) return
    const latents = await readLatentPlan(request.latents, { model, init: request.init, given: true })
    assertSize(request, recipe, latents)
  } finally {
    await model.close()
  }
}

const countElements = (shapes: Shapes): number =>
  [...shapes.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0)

async function readGiven(request: DecoderRequest): Promise<Given> {
  const { init, settings, steps: last, seed, source, weights, cacheDir, onNote, stop } = request
  if (source === '-')
    throw usageError('bad_source', 'SOURCE is read twice here, so that it cannot be standard input', [
      'write the list into a file, and give that',
    ])
  const read = await readDecoderRecipe(request.recipe, { settings, steps: last })
  const steps = read.config.n_steps
  if (steps === undefined)
    throw usageError('steps_missing', 'How many steps are to be trained is not said', [
      'give --steps, or config.n_steps in the recipe',
    ])
  const { recipe, perceptual } = await withPixelLoss(read, { weights, cacheDir, onNote })
  if (recipe.config.batch === 1)
    onNote?.(
      'The batch is one image: the discriminator’s batch norms take their statistics over its pixels alone. Give larger batches where memory allows.',
    )
  const model = await openModel(init, { cacheDir, onNote, signal: stop })
  try {
    decoderOf(model)
    // Another architecture's configuration is refused here.
    const start = await openDecoderStart({ folder: model.folder, seed, disc: recipe.config.disc, resumed: false })
    await start.close()
    assertPatches(recipe, start.config)
    return { recipe, perceptual, model, config: start.config, steps }
  } catch (error) {
    await model.close()
    throw error
  }
}

/** L1 on a Laplacian pyramid takes the place of L1 + LPIPS where the weights of LPIPS are not there. */
async function withPixelLoss(
  recipe: DecoderRecipe,
  options: Parameters<typeof lookForLpips>[0],
): Promise<Pick<Given, 'recipe' | 'perceptual'>> {
  const { config, hyper_parameters: given } = recipe
  if (given.w_lpips === 0) return { recipe, perceptual: undefined }
  const perceptual = await lookForLpips(options)
  if (perceptual) return { recipe, perceptual }
  const plain = { config: { ...config, pixel_loss: 'laplacian' as const }, hyper_parameters: { ...given, w_lpips: 0 } }
  return { recipe: plain, perceptual }
}

async function latentsOf(
  request: DecoderRequest,
  { config }: DecoderRecipe,
): Promise<{ folder: string; rejects: Record<string, number> } | undefined> {
  if (request.latents !== undefined) return { folder: request.latents, rejects: {} }
  await assertEnough(request, config.batch)
  const made = await encodeLatents(request, { size: config.image_size, flip: config.flip })
  if (made) assertRead(request.source, made.result)
  return made && { folder: made.folder, rejects: { ...made.result.rejectsByCode } }
}

/** Throws usage error `bad_recipe`. */
function assertPatches({ config: { image_size: size } }: DecoderRecipe, { vision_patch_size: patch }: VtpConfig): void {
  if (size % patch === 0) return
  throw usageError('bad_recipe', `config.image_size ${size} is not a multiple of the patch size ${patch}`, [
    `--set config.image_size=${Math.ceil(size / patch) * patch}`,
  ])
}

/** Before an hour of encoding. Throws usage error `too_few_images`. */
async function assertEnough({ source, limit, fields, stop }: DecoderRequest, batch: number): Promise<void> {
  const index = await openListingIndex(source, { limit, fields, signal: stop, unlabelled: true })
  await index.close()
  if (index.count >= batch) return
  throw usageError('too_few_images', `${source} gives ${index.count} images; a batch has ${batch}`, [
    `--set config.batch=${index.count}`,
  ])
}

/** Throws usage error `no_images`. */
function assertRead(source: string, { rejectsByCode, rows }: EncodeResult): void {
  const codes = Object.entries(rejectsByCode).map(([code, count]) => `${count} ${code}`)
  if (rows > 0 || codes.length === 0) return
  throw usageError('no_images', `No image of ${source} could be read: ${codes.join(', ')}`, [
    'give a SOURCE with images that can be read',
  ])
}

/** Throws usage error `size_conflict`. */
function assertSize({ latents }: DecoderRequest, { config }: DecoderRecipe, { size }: LatentPlan): void {
  if (size === config.image_size) return
  throw usageError(
    'size_conflict',
    `${latents} holds latents of images of ${size} × ${size}; the recipe asks for ${config.image_size}`,
    [`--set config.image_size=${size}`],
  )
}

function planOf(
  { seed, init }: DecoderRequest,
  { recipe, perceptual, model }: Given,
  pairs: Pairs,
  { transform }: LatentPlan,
): DecoderPlan {
  const { n_steps: _, save_every: __, ...config } = recipe.config
  return decoderPlans.make({
    ...{ version: 1, kind: KIND_NAME, seed, transform, config, hyperParameters: { ...recipe.hyper_parameters } },
    data: { name: path.basename(pairs.uri.replace(/\/+$/, '')), digest: pairs.digest, rows: pairs.rows.rows },
    init: { name: path.basename(init.replace(/\/+$/, '')), digest: model.digest },
    perceptual: perceptual?.map(({ sha256 }) => sha256) ?? null,
    device: 'cpu',
    engine: engineVersion(),
    ...{ vtp: vtpVersion(), processor: processorKind() },
  })
}
