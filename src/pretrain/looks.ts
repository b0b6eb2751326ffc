/**
 * What is made of a saved step in both stages of pre-training: a sheet of reconstructions, an evaluation on held-out
 * images, the report. What is there already is not made again, so that a run which is taken up makes up for the rest.
 */
import path from 'node:path'
import type { Device } from '../engine/device.js'
import type { Store } from '../io/store.js'
import type { VtpConfig } from '../model/vtp/config.js'
import { showImages } from '../pipeline/show.js'
import { pictureName, type SavedState } from '../train/folder.js'
import type { RunLog } from '../train/log.js'
import { isDue } from '../train/loop.js'
import { type Judged, type JudgeOptions, judgeCheckpoint } from './judge.js'

export interface LookRequest {
  dest: string
  source: string
  cacheDir: string
  /** Of sheets and evaluations. */
  device: Device
  maxPixels: number
  /** Folder with the weights of metrics' networks. */
  weights?: string
  /** Steps between sheets. */
  samplesEvery?: number
  evalEvery?: number
  evaluation?: JudgeOptions
  stop?: AbortSignal
}

type LookRecord = { step: number; protocol?: string } & Partial<Judged>

export interface LookParts<R extends LookRecord> {
  request: LookRequest
  config: VtpConfig
  /** What held-out images go through. */
  transform: string
  store: Store
  log: RunLog<R>
  /** Writes the report. */
  report(): Promise<void>
}

/** Images of a sheet. */
const SHEET_ROWS = 6

export const looksDue = ({ samplesEvery, evalEvery }: LookRequest, step: number): boolean =>
  isDue(step, samplesEvery) || isDue(step, evalEvery)

/** What is due of a saved step; false when stopped. */
export async function lookAt<R extends LookRecord>({ step, name }: SavedState, parts: LookParts<R>): Promise<boolean> {
  const { request, log } = parts
  const model = path.join(request.dest, name)
  if (isDue(step, request.samplesEvery)) await drawSheet(step, model, parts)
  const last = log.records.at(-1)
  if (isDue(step, request.evalEvery) && request.evaluation && last?.step === step && last.protocol === undefined) {
    const judged = await judgeModel(model, parts)
    if (!judged) return false
    await log.extend({ ...judged.found, protocol: judged.protocol } as Partial<R>)
  }
  if (request.stop?.aborted) return false
  await parts.report()
  return true
}

type ModelParts = Omit<LookParts<never>, 'log' | 'report'>

/** A sheet of a model's reconstructions as that of a step, unless there is one. */
export async function drawSheet(step: number, model: string, { request, transform, store }: ModelParts): Promise<void> {
  if (await store.stat(pictureName(step))) return
  const { dest, source, evaluation, cacheDir, device, stop } = request
  const out = path.join(dest, pictureName(step))
  const shown = evaluation?.source ?? source
  await showImages({ source: shown, out, model, cacheDir, device, stop, limit: SHEET_ROWS, transform })
}

/** An evaluation of a model as the request wants it; undefined when stopped. */
export function judgeModel(model: string, { request, config, transform }: ModelParts) {
  const { evaluation, device, cacheDir, maxPixels, weights, stop } = request
  return judgeCheckpoint({ ...evaluation!, model, config, transform, weights, device, cacheDir, maxPixels, stop })
}
