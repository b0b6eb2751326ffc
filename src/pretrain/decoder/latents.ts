/**
 * The latents of a stage of the decoder: shards of `vtp encode`, made once in DEST by its engine or given, and what
 * their plan says of them. They are float32 safetensors where they are made here, so that rows are read in place.
 */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { processorKind } from '../../engine/processor.js'
import { planThreads } from '../../engine/threads.js'
import { usageError } from '../../errors.js'
import { uriScheme } from '../../io/store.js'
import type { ImageModel, Precision } from '../../model/index.js'
import { type EncodeResult, runEncode } from '../../pipeline/encode.js'
import { openRun } from '../../pipeline/ledger/open-run.js'
import type { DecoderRequest } from './request.js'

/** Of DEST. */
const OWN_LATENTS = '_vtp/latents'

export interface LatentPlan {
  /** The canonical spec that the images went through. */
  transform: string
  /** Side of the images, in pixels. */
  size: number
  precision: Precision
  dtype: 'float16' | 'float32'
}

const ROWS = 10_000

/** Encodes SOURCE into DEST, or takes up what is there; undefined when stopped. Throws as `vtp encode`. */
export async function encodeLatents(
  request: DecoderRequest,
  { size, flip }: { size: number; flip: boolean },
): Promise<{ folder: string; result: EncodeResult } | undefined> {
  const { source, dest, init, cacheDir, device, workers, maxPixels, limit, fields, stop, onNote, onEncode } = request
  const folder = path.join(dest, OWN_LATENTS)
  const isNew = !(await stat(path.join(folder, '_manifest.json')).catch(() => undefined))
  if (isNew) onNote?.(`Encoding the images once, into ${folder}.`)
  const result = await runEncode({
    ...{ source, dest: folder, model: init, cacheDir, maxPixels, sourceOptions: { limit, fields } },
    ...{ outputs: ['latents'], layersNorm: true, flip, format: 'safetensors', dtype: 'float32' },
    ...{ transform: `adm-crop(${size})`, shardRows: ROWS, precision: device.precision, device: device.kind },
    ...{ processor: processorKind(), engine: device, batchSize: device.batchSize, fitsBatch: true },
    threads: planThreads({ cores: device.cores, device: device.kind, workers }),
    ...{ worker: { index: 0, count: 1 }, helpOthers: true, checkpointSeconds: 10, retryRejects: false },
    ...{ stop, signal: stop },
    onProgress: ({ done, total }) => onEncode?.(done, total),
  })
  return result.complete ? { folder, result } : undefined
}

/** What the plan beside the shards says. Throws usage errors `no_plan`, `other_model`, `other_device`, `no_latents`. */
export async function readLatentPlan(
  folder: string,
  { model, init, given }: { model: ImageModel; init: string; given: boolean },
): Promise<LatentPlan> {
  if (uriScheme(folder) === undefined && !(await stat(folder).catch(() => undefined)))
    throw usageError('input_missing', `--latents ${folder} does not exist`, ['give the --out folder of `vtp encode`'])
  const { store, plan } = await openRun(folder)
  await store.close()
  const leave = given ? ['leave --latents out: the images are then encoded here'] : []
  if (plan.model.digest !== model.digest)
    throw usageError(
      'other_model',
      `The latents in ${folder} are of another model: ${plan.model.name} ${plan.model.digest.slice(0, 12)}…, --init ${init} is ${model.digest.slice(0, 12)}…`,
      ['give the model that made them as --init', ...leave],
    )
  if (plan.device !== 'cpu')
    throw usageError(
      'other_device',
      `The latents in ${folder} were computed on ${plan.device}: here their bits cannot be computed anew`,
      leave,
    )
  const column = plan.columns.find(({ name }) => name === 'latents')
  if (!column || (column.dtype !== 'float16' && column.dtype !== 'float32'))
    throw usageError('no_latents', `${folder} holds no latents`, ['encode with --outputs latents', ...leave])
  const [, height, width] = column.shape
  if (height !== width || plan.latents?.draw === 'sample')
    throw usageError('no_latents', `${folder} holds latents [${column.shape}]; [C,S,S] was expected`, leave)
  const grid = model.decoder!.imageSize({ height: height!, width: width! })
  return { transform: plan.transform, size: grid.width, precision: plan.precision as Precision, dtype: column.dtype }
}
