/** From what the user asked for to a plan and everything that it names, opened and checked against each other. */
import path from 'node:path'
import { processorKind } from '../engine/processor.js'
import { usageError } from '../errors.js'
import { fileDigest } from '../io/file-digest.js'
import type { VtpConfig } from '../model/vtp/config.js'
import { engineVersion, vtpVersion } from '../version.js'
import { openPretrainData, type PretrainData } from './data.js'
import { lookForLpips } from './perceptual.js'
import { makePretrainPlan, type PretrainPlan, plannedConfig } from './plan.js'
import { CONFIG_KEYS, type PretrainRecipe, readPretrainRecipe } from './recipe.js'
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
}

const DEFAULT_SAVE_EVERY = 1000

/** Opens and checks everything; the data are the caller's to close. Throws usage errors. */
export async function preparePretrain(request: PretrainRequest): Promise<PreparedPretrain> {
  const { settings, steps: last, seed, init, exported } = request
  const recipe = await withPixelLoss(await readPretrainRecipe(request.recipe, { settings, steps: last }), request)
  assertKnown(recipe, request.recipe)
  const steps = last ?? recipe.config.n_steps
  if (steps === undefined)
    throw usageError('steps_missing', 'How many steps are to be trained is not said', [
      'give --steps, or config.n_steps in the recipe',
    ])
  if (exported === 'teacher') assertHasTeacher(recipe)
  const start = await openStart(recipe, init === undefined ? { seed } : { folder: init, seed })
  await start.close()
  const { config, head } = start
  const trained = [...trainedTensors(config, head, recipe.hyper_parameters).values()]
  const data = await openPretrainData(recipe, config, { ...request, source: request.source })
  try {
    const plan = makePretrainPlan(
      {
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
      },
      { vtp: vtpVersion(), processor: processorKind() },
    )
    return {
      ...{ plan, recipe, config, data, steps },
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

/** A key that nobody obeys is a mistake, where it is no note of reference data. */
function assertKnown({ config }: PretrainRecipe, file: string): void {
  const unknown = Object.keys(config).filter((key) => !CONFIG_KEYS.includes(key))
  if (unknown.length === 0) return
  throw usageError('bad_recipe', `${file}: config has unknown keys: ${unknown.join(', ')}`, [
    `known ones are ${CONFIG_KEYS.join(', ')}`,
  ])
}
