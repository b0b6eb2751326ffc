/** What a checkpoint can do, by the evaluators of the evaluation commands: for the log and the report of a training. */
import type { Device } from '../engine/device.js'
import { findWeights, type WeightsName } from '../metrics/networks/weights.js'
import { evaluateRidge } from '../metrics/probe/ridge.js'
import { evaluateReconstruction } from '../metrics/recon/evaluate.js'
import type { ReconMetric } from '../metrics/recon/request.js'
import { evaluateZeroshot } from '../metrics/zeroshot/evaluate.js'
import type { VtpConfig } from '../model/vtp/config.js'

export interface JudgeOptions {
  /** Held-out images. */
  source: string
  /** Images with classes that probes are fitted on. */
  probeTrain?: string
  /** Of each set. */
  limit?: number
  classnames?: string
  templates?: string
}

export interface JudgeRequest extends JudgeOptions {
  /** A checkpoint. */
  model: string
  config: VtpConfig
  /** What images go through. */
  transform: string
  /** Folder with the weights of metrics' networks: LPIPS and rFID are measured where it has them. */
  weights?: string
  device: Device
  cacheDir: string
  maxPixels: number
  stop?: AbortSignal
}

export interface Judged {
  /** Percent. */
  zeroshot?: number
  probe_latents?: number
  probe_features?: number
  /** dB. */
  psnr?: number
  ssim?: number
  lpips?: number
  rfid?: number
}

/** Undefined when stopped. Throws usage errors for held-out images that do not fit. */
export async function judgeCheckpoint(request: JudgeRequest): Promise<{ found: Judged; protocol: string } | undefined> {
  const { source, model, config, transform, device, cacheDir, maxPixels, limit, stop } = request
  const batchSize = device.batchSize
  const { precision } = device
  const common = { model, transform, device, precision, cacheDir, maxPixels, batchSize, limit, stop }
  const found: Judged = {}
  const parts: string[] = []
  if (config.train_clip && request.classnames !== undefined) {
    const { classnames, templates } = request
    const shot = await evaluateZeroshot({ ...common, source, classnames, templates, checkpointSeconds: 600 })
    if (shot.interrupted) return undefined
    found.zeroshot = shot.top1
    parts.push(`zero-shot: ${shot.protocol}`)
  }
  if (request.probeTrain !== undefined) {
    const probe = await evaluateRidge({ ...common, train: request.probeTrain, source })
    if (probe.interrupted) return undefined
    found.probe_latents = probe.probeLatents
    found.probe_features = probe.probeFeatures
    parts.push(probe.protocol)
  }
  if (config.train_reconstruction) {
    const network = { dir: request.weights, cacheDir, device, signal: stop }
    const metrics = await reconMetrics(request)
    const recon = await evaluateReconstruction({
      ...{ ...common, source, network, metrics, decoderPrecision: precision },
      ...{ protocolBatch: 32, saveImages: false, checkpointSeconds: 600 },
    })
    if (recon.interrupted) return undefined
    for (const name of metrics) if (recon[name] != null) found[name] = recon[name]
    parts.push(`reconstruction: ${recon.protocol}`)
  }
  return { found, protocol: parts.join(' · ') }
}

/** PSNR and SSIM; with `weights` what they make possible besides. Nothing is downloaded. */
async function reconMetrics({ weights, cacheDir }: JudgeRequest): Promise<ReconMetric[]> {
  if (weights === undefined) return ['psnr', 'ssim']
  const has = async (...names: WeightsName[]): Promise<boolean> => {
    for (const name of names) if (!(await findWeights(name, { dir: weights, cacheDir }))) return false
    return true
  }
  return [
    'psnr',
    'ssim',
    ...((await has('vgg16', 'lpips')) ? (['lpips'] as const) : []),
    ...((await has('inception')) ? (['rfid'] as const) : []),
  ]
}

/** What an evaluation found, as lines of a log have it: name, title, unit. */
export const JUDGED: readonly (readonly [keyof Judged, string, string])[] = [
  ['zeroshot', 'Zero-shot', 'top-1 in percent'],
  ['probe_latents', 'Probe on the latents', 'top-1 in percent'],
  ['probe_features', 'Probe on CLS and mean patch', 'top-1 in percent'],
  ['rfid', 'rFID', 'lower is better'],
  ['psnr', 'PSNR', 'dB'],
  ['ssim', 'SSIM', ''],
  ['lpips', 'LPIPS', 'lower is better'],
]

type JudgedRecord = { step: number; protocol?: string } & Partial<Judged>

/** The last evaluation of a log; null where there is none. */
export function lastJudged(records: readonly JudgedRecord[]): Judged | null {
  const found = records.findLast((record) => record.protocol !== undefined)
  return found ? (Object.fromEntries(JUDGED.map(([name]) => [name, found[name]])) as Judged) : null
}

export interface Best {
  step: number
  by: 'rfid' | 'psnr'
  value: number
}

/** The step with the least rFID, where it was measured, else that with the highest PSNR; the first of equal ones. */
export function bestOf(records: readonly JudgedRecord[]): Best | undefined {
  const by = records.some(({ rfid }) => rfid !== undefined) ? 'rfid' : 'psnr'
  const sign = by === 'rfid' ? -1 : 1
  let best: Best | undefined
  for (const { step, [by]: value } of records)
    if (value !== undefined && (!best || sign * value > sign * best.value)) best = { step, by, value }
  return best
}
