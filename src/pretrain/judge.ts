/** What a checkpoint can do, by the evaluators of the evaluation commands: for the log and the report of a training. */
import type { Device } from '../engine/device.js'
import { evaluateRidge } from '../metrics/probe/ridge.js'
import { evaluateReconstruction } from '../metrics/recon/evaluate.js'
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
  /** Side of the images. */
  size: number
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
}

/** Undefined when stopped. Throws usage errors for held-out images that do not fit. */
export async function judgeCheckpoint(request: JudgeRequest): Promise<{ found: Judged; protocol: string } | undefined> {
  const { source, model, config, size, device, cacheDir, maxPixels, limit, stop } = request
  const transform = `resize(${size},${size},bicubic)`
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
    const probe = await evaluateRidge({ ...common, train: request.probeTrain, val: source })
    if (stop?.aborted) return undefined
    if (probe.latents !== null) found.probe_latents = probe.latents
    if (probe.features !== null) found.probe_features = probe.features
    parts.push(`ridge probes: ${transform}, ${probe.train} images to fit, ${probe.val} to test, best strength`)
  }
  if (config.train_reconstruction) {
    const network = { cacheDir, device, signal: stop }
    const recon = await evaluateReconstruction({
      ...{ ...common, source, network, metrics: ['psnr', 'ssim'], decoderPrecision: precision },
      ...{ protocolBatch: 32, saveImages: false, checkpointSeconds: 600 },
    })
    if (recon.interrupted) return undefined
    if (recon.psnr != null) found.psnr = recon.psnr
    if (recon.ssim != null) found.ssim = recon.ssim
    parts.push(`reconstruction: ${recon.protocol}`)
  }
  return { found, protocol: parts.join(' · ') }
}
