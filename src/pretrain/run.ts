/**
 * `vtp pretrain --replay`: given batches, whole steps, a log line for each, and a checkpoint at the end. Everything is
 * checked before the first step; a destination that holds a run already is refused.
 */
import { open, readdir } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../errors.js'
import { makeFolder } from '../io/make-folder.js'
import { type Export, writeCheckpoint } from './checkpoint.js'
import { type JointLog, openJointTrainer } from './joint.js'
import { readPerceptual } from './perceptual.js'
import { assertHasTeacher } from './prepare.js'
import { readPretrainRecipe } from './recipe.js'
import { openReplay } from './replay.js'
import { openStartFolder } from './start.js'

export interface ReplayRequest {
  replay: string
  init: string
  recipe: string
  /** `KEY=VALUE` of the recipe each. */
  settings: readonly string[]
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
  const recipe = await readPretrainRecipe(request.recipe, { settings: request.settings })
  await assertFresh(request.out)
  const folder = await openStartFolder(request.init, recipe)
  try {
    if (request.exported === 'teacher') assertHasTeacher(recipe)
    const replay = await openReplay(request.replay, folder.config, recipe, request.steps)
    try {
      const perceptual = await readPerceptual(recipe, request)
      const trainer = await openJointTrainer(folder, recipe, {
        threads: request.threads,
        batch: replay.shapes,
        perceptual,
      })
      try {
        await makeFolder(request.out)
        const logFile = path.join(request.out, 'log.jsonl')
        const log = await open(logFile, 'wx')
        let last: JointLog | undefined
        try {
          for (let step = 0; step < request.steps; step++) {
            last = (await trainer.step(await replay.batch(step), recipe.hyper_parameters.first_iter + step)).log
            await log.writeFile(`${JSON.stringify(last)}\n`)
            request.onStep(last)
          }
          await log.sync()
        } finally {
          await log.close()
        }
        const checkpoint = path.join(request.out, 'checkpoints', String(request.steps).padStart(7, '0'))
        await writeCheckpoint(checkpoint, folder, trainer.state, { exported: request.exported })
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
