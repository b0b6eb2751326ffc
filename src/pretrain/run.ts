/**
 * `vtp pretrain --replay`: given batches, whole steps, a log line for each, and a checkpoint at the end. Everything is
 * checked before the first step; a destination that holds a run already is refused.
 */
import { open, readdir } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../errors.js'
import { makeFolder } from '../io/make-folder.js'
import { openPerceptual } from '../metrics/networks/open.js'
import { LPIPS_TENSORS, VGG_TENSORS } from '../model/lpips/graph.js'
import { type Export, openPretrainFolder, writeCheckpoint } from './checkpoint.js'
import { type JointLog, openJointTrainer } from './joint.js'
import { type PretrainRecipe, readPretrainRecipe } from './recipe.js'
import { openReplay } from './replay.js'

export interface ReplayRequest {
  replay: string
  init: string
  recipe: string
  steps: number
  out: string
  exported: Export
  threads: number
  /** Folder with the weights of LPIPS. */
  weights?: string
  cacheDir: string
  onStep(log: JointLog): void
}

export interface ReplayResult {
  steps: number
  checkpoint: string
  log: string
  last: JointLog
}

export async function replayPretraining(request: ReplayRequest): Promise<ReplayResult> {
  const recipe = await readPretrainRecipe(request.recipe)
  await assertFresh(request.out)
  const folder = await openPretrainFolder(request.init, recipe)
  try {
    if (request.exported === 'teacher' && recipe.hyper_parameters.w_ssl === 0)
      throw usageError(
        'no_teacher',
        '--export teacher: there is no teacher without the self-supervised loss (w_ssl is 0)',
      )
    const replay = await openReplay(request.replay, folder.config, recipe, request.steps)
    try {
      const perceptual = await readPerceptual(recipe, request)
      const options = { threads: request.threads, batch: replay.shapes }
      const trainer = await openJointTrainer({ ...folder, perceptual }, recipe, options)
      try {
        await makeFolder(request.out)
        const logFile = path.join(request.out, 'log.jsonl')
        const log = await open(logFile, 'wx')
        let last: JointLog | undefined
        try {
          for (let step = 0; step < request.steps; step++) {
            last = await trainer.step(await replay.batch(step), recipe.hyper_parameters.first_iter + step)
            await log.writeFile(`${JSON.stringify(last)}\n`)
            request.onStep(last)
          }
          await log.sync()
        } finally {
          await log.close()
        }
        const checkpoint = path.join(request.out, 'checkpoints', String(request.steps).padStart(7, '0'))
        await writeCheckpoint(checkpoint, folder, trainer.state, request.exported)
        return { steps: request.steps, checkpoint, log: logFile, last: last! }
      } finally {
        await trainer.close()
      }
    } finally {
      await replay.close()
    }
  } finally {
    await folder.close()
  }
}

async function assertFresh(out: string): Promise<void> {
  const names = await readdir(out).catch(() => [])
  if (names.some((name) => name === 'log.jsonl' || name === 'checkpoints'))
    throw usageError('out_not_empty', `--out ${out} already holds a run`, ['give another folder'])
}

async function readPerceptual(
  { hyper_parameters: given }: PretrainRecipe,
  request: ReplayRequest,
): Promise<ReadonlyMap<string, Float32Array> | undefined> {
  if (given.w_rec === 0 || given.w_lpips === 0) return undefined
  const opened = await openPerceptual({ dir: request.weights, cacheDir: request.cacheDir })
  try {
    const values = new Map<string, Float32Array>()
    for (const name of VGG_TENSORS) values.set(name, await opened.read(name))
    for (const name of LPIPS_TENSORS) values.set(name.replace('.model.1.weight', ''), await opened.read(name))
    return values
  } finally {
    await opened.close()
  }
}
