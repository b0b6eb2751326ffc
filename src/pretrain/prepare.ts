/** From what the user asked for to a plan and everything that it names, opened and checked against each other. */
import path from 'node:path'
import { processorKind } from '../engine/processor.js'
import { usageError } from '../errors.js'
import { fileDigest } from '../io/file-digest.js'
import { openListingIndex } from '../metrics/probe/listing-index.js'
import { readPrompts } from '../metrics/zeroshot/prompts.js'
import type { VtpConfig } from '../model/vtp/config.js'
import { engineVersion, vtpVersion } from '../version.js'
import { planBatch } from './batch-plan.js'
import { openPretrainData, type PretrainData } from './data.js'
import { assertFits, type MemoryNeed, memoryNeed } from './memory.js'
import { lookForLpips } from './perceptual.js'
import { type PretrainPlan, plannedConfig, pretrainPlans } from './plan.js'
import { assertKnownKeys, type PretrainRecipe, readPretrainRecipe } from './recipe.js'
import type { PretrainRequest } from './request.js'
import { openStart } from './start.js'
import { trainedTensors } from './state.js'

export interface PreparedPretrain {
  plan: PretrainPlan
  recipe: PretrainRecipe
  config: VtpConfig
  data: PretrainData
  /** Number of the last step. */
  steps: number
  saveEvery: number
  /** Trained ones. */
  parameters: number
  memory: MemoryNeed
}

export interface PrepareOptions {
  /** Goes on where a step cannot fit into memory, for a look. */
  look?: boolean
}

const DEFAULT_SAVE_EVERY = 1000

/** Opens and checks everything; the data are the caller's to close. Throws usage errors. */
export async function preparePretrain(
  request: PretrainRequest,
  { look = false }: PrepareOptions = {},
): Promise<PreparedPretrain> {
  const { settings, steps: last, seed, init, exported } = request
  const recipe = await withPixelLoss(await readPretrainRecipe(request.recipe, { settings, steps: last }), request)
  assertKnownKeys(recipe, request.recipe)
  const steps = last ?? recipe.config.n_steps
  if (steps === undefined)
    throw usageError('steps_missing', 'How many steps are to be trained is not said', [
      'give --steps, or config.n_steps in the recipe',
    ])
  if (exported === 'teacher') assertHasTeacher(recipe)
  const start = await openStart(recipe, init === undefined ? { seed } : { folder: init, seed })
  await start.close()
  const { config, head } = start
  if (init !== undefined) tellOtherModel(recipe, config, request)
  const memory = memoryNeed(start, recipe, planBatch(recipe, config))
  if (!look) assertFits(memory)
  await assertJudgeable(judgedParts(config, recipe), request)
  const trained = [...trainedTensors(config, head, recipe.hyper_parameters).values()]
  const data = await openPretrainData(recipe, config, { ...request, source: request.source })
  try {
    const plan = pretrainPlans.make({
      ...{ version: 1, kind: 'pretrain', seed, exported },
      data: { name: path.basename(data.uri.replace(/\/+$/, '')), digest: data.digest, rows: data.rows },
      captions: data.captions ?? null,
      init:
        init === undefined
          ? null
          : {
              name: path.basename(path.resolve(init)),
              digest: await fileDigest(path.join(init, 'model.safetensors'), request.cacheDir),
            },
      model: { ...config },
      config: plannedConfig(recipe),
      hyperParameters: { ...recipe.hyper_parameters },
      device: 'cpu',
      engine: engineVersion(),
      ...{ vtp: vtpVersion(), processor: processorKind() },
    })
    return {
      ...{ plan, recipe, config, data, steps, memory },
      saveEvery: request.saveEvery ?? recipe.config.save_every ?? DEFAULT_SAVE_EVERY,
      parameters: trained.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0),
    }
  } catch (error) {
    await data.close()
    throw error
  }
}

/** Throws usage error `no_teacher`. */
export function assertHasTeacher({ hyper_parameters: given }: PretrainRecipe): void {
  if (given.w_ssl > 0) return
  throw usageError('no_teacher', '--export teacher: there is no teacher without the self-supervised loss (w_ssl is 0)')
}

/** The model is that of --init: a recipe that describes another one is obeyed in everything else. */
function tellOtherModel({ model = {} }: PretrainRecipe, config: VtpConfig, { init, onNote }: PretrainRequest): void {
  const other = Object.entries(model).filter(
    ([key, value]) => key in config && config[key as keyof VtpConfig] !== value && key !== 'image_size',
  )
  if (other.length === 0) return
  const told = other.map(([key, value]) => `${key} ${config[key as keyof VtpConfig]} (the recipe says ${value})`)
  onNote?.(`The model is that of --init ${init}: ${told.join(', ')}.`)
}

/** The model as an evaluation sees it: a part that no loss of the run trains is left out. */
export function judgedParts(config: VtpConfig, { hyper_parameters: given }: PretrainRecipe): VtpConfig {
  return {
    ...config,
    train_clip: config.train_clip && given.w_clip > 0,
    train_reconstruction: config.train_reconstruction && given.w_rec > 0,
  }
}

/** Held-out images without classes would end the run only at its first evaluation. */
async function assertJudgeable(config: VtpConfig, request: PretrainRequest): Promise<void> {
  const { evaluation, onNote, stop } = request
  if (!evaluation) return
  const zeroshot = config.train_clip && evaluation.classnames !== undefined
  const { source, probeTrain, limit } = evaluation
  for (const set of probeTrain === undefined ? [source] : [source, probeTrain]) {
    const unlabelled = !zeroshot && probeTrain === undefined
    const index = await openListingIndex(set, { limit, onNote, signal: stop, unlabelled })
    await index.close()
    if (set === source && zeroshot) (await readPrompts(evaluation.classnames, evaluation.templates))(index.names)
  }
  if (!zeroshot && !config.train_reconstruction && probeTrain === undefined)
    onNote?.('There is nothing to evaluate: w_clip and w_rec are 0. Probes need --eval-train.')
}

/** L1 on a Laplacian pyramid takes the place of L1 + LPIPS where the weights of LPIPS are not there. */
async function withPixelLoss(recipe: PretrainRecipe, request: PretrainRequest): Promise<PretrainRecipe> {
  const { hyper_parameters: given, config } = recipe
  if (given.w_rec === 0 || given.w_lpips === 0) return recipe
  if (await lookForLpips(request)) return recipe
  return {
    ...recipe,
    config: { ...config, pixel_loss: 'laplacian' },
    hyper_parameters: { ...given, w_lpips: 0 },
  }
}
