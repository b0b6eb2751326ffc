/**
 * `vtp train --export DIR`: everything that the reference's train.py (LightningDiT, with accelerate) needs to take a
 * training over, on as many GPUs and machines as torchrun reaches. Nothing is trained, and nothing is written to DEST.
 *
 * The state goes where train.py resumes: `runs/vtp/checkpoints/NNNNNNN.pt` with model and average, also at step 0. So
 * averages are kept, and a job that starts again resumes by itself. The optimiser's state is left out: train.py does
 * not read it, and it takes the largest file, which must be one of its own later on.
 */
import { chmod, readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { errorText, systemCode, usageError } from '../../errors.js'
import { writeAtomically } from '../../io/atomic.js'
import { makeFolder } from '../../io/make-folder.js'
import { openShard } from '../../io/shards/index.js'
import { storageError } from '../../io/storage-error.js'
import { uriScheme } from '../../io/store.js'
import { writeCheckpoint } from '../checkpoint.js'
import { stateName } from '../folder.js'
import { openFirstState, stateThere } from '../open-state.js'
import { modelType } from '../plain-recipe.js'
import { type PreparedTrain, prepareTrain } from '../prepare.js'
import type { TrainRequest } from '../request.js'
import { exportData } from './data.js'
import { differences, EXPERIMENT, exportedRecipe, OUTPUT, pythonYaml } from './recipe.js'
import { CONFIG_FILE, launchFiles } from './scripts.js'

export interface TrainExport {
  folder: string
  model: string
  /** Steps that the exported state has done, and the last one. */
  step: number
  steps: number
  /** In the folder. */
  checkpoint: string
  shards: number
  /** Shards that are links to those of LATENTS. */
  linked: number
  /** What train.py does otherwise. */
  notes: string[]
}

/** Writes the folder. Throws usage errors `export_not_empty`, `bad_export`, and those of a run with the same request. */
export async function exportTraining(request: TrainRequest, folder: string): Promise<TrainExport> {
  if (request.replay !== undefined)
    throw usageError('bad_export', '--export needs LATENTS: train.py does not read given batches')
  if (uriScheme(folder) !== undefined)
    throw usageError('export_not_local', `--export ${folder}: the folder must be one of this machine`, [
      'give a folder, and copy it to the bucket',
    ])
  const there = await readdir(folder).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return []
    throw usageError('export_not_a_folder', `--export ${folder} is no folder that can be read: ${errorText(error)}`, [
      'give --export a new folder',
    ])
  })
  if (there.length > 0) throw usageError('export_not_empty', `${folder} is not empty`, ['give --export a new folder'])
  const prepared = await prepareTrain(request, { folder: path.join(request.dest, '_vtp', 'rows'), look: true })
  try {
    assertBatchFits(prepared)
    return await writeExport(folder, prepared, request)
  } finally {
    await prepared.close()
  }
}

function assertBatchFits({ plan, source }: PreparedTrain): void {
  if (source.rows === undefined || plan.batch <= source.rows) return
  throw usageError(
    'bad_export',
    `The batch of ${plan.batch} is larger than the ${source.rows} rows: train.py, which drops batches that are not whole, would wait for ever`,
    ['give a smaller --batch-size'],
  )
}

async function writeExport(folder: string, prepared: PreparedTrain, request: TrainRequest): Promise<TrainExport> {
  const { config, plan, steps, schedule } = prepared
  const first = await openFirstState(prepared, plan.seed, await stateThere(request, prepared), request.dest)
  try {
    const data = await exportData(path.join(folder, 'data'), prepared, request.stop)
    const recipe = exportedRecipe(prepared, await modelOf(prepared.rows!.files[0]!))
    const checkpoint = `${OUTPUT}/${EXPERIMENT}/checkpoints/${stateName(first.step, '.pt')}`
    await writeCheckpoint(path.join(folder, checkpoint), {
      ...{ config, step: first.step, lr: schedule.lr, optimizer: undefined, recipe },
      read: first.read,
    })
    const notes = differences(prepared)
    await writeText(path.join(folder, CONFIG_FILE), pythonYaml(recipe))
    for (const [name, text] of launchFiles(config, { step: first.step, notes })) {
      await writeText(path.join(folder, name), text)
      if (name.endsWith('.sh')) await chmod(path.join(folder, name), 0o755)
    }
    return { folder, model: modelType(config), step: first.step, steps, checkpoint, ...data, notes }
  } finally {
    await first.close()
  }
}

/** The model that made a shard, as the shard names it. */
async function modelOf(file: string): Promise<string | undefined> {
  const shard = await openShard(file)
  try {
    return shard.provenance['vtp.model']
  } finally {
    await shard.close()
  }
}

async function writeText(file: string, text: string): Promise<void> {
  await makeFolder(path.dirname(path.resolve(file)))
  await writeAtomically(file, (tmp) => writeFile(tmp, text)).catch((error: unknown) => {
    throw storageError('Cannot write', file, error)
  })
}
