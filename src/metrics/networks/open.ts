/** From the weights that metrics need to open sessions: Inception-v3, and the graph that compares pairs of images. */
import type { Device } from '../../engine/device.js'
import type { Session } from '../../engine/session.js'
import { openNetwork } from '../../engine/session-pool.js'
import { compileInception, compilePairs, type InceptionSpec, type PairSpec } from '../../model/networks.js'
import { resolveWeights, type WeightsFile, type WeightsOptions } from './weights.js'

export interface NetworkOptions extends WeightsOptions {
  device: Device
  /** Images, or pairs of them, of the largest run. */
  batchSize: number
}

export interface OpenNetwork {
  session: Session
  weights: WeightsFile[]
}

/** Opens Inception-v3 as FID uses it. Throws VtpError `weights_missing` and the like. */
export async function openInception(spec: InceptionSpec, options: NetworkOptions): Promise<OpenNetwork> {
  const file = await resolveWeights('inception', options)
  const graph = await compileInception(file, spec, options.cacheDir)
  return { session: await openNetwork(graph, options), weights: [file] }
}

/** Opens the comparison of pairs; without LPIPS it needs no weights. Throws as `openInception`. */
export async function openPairs(spec: PairSpec, options: NetworkOptions): Promise<OpenNetwork> {
  const files = spec.lpips ? await resolvePerceptual(options) : undefined
  const graph = await compilePairs(files, spec, options.cacheDir)
  return { session: await openNetwork(graph, options), weights: files ? [files.vgg16, files.lpips] : [] }
}

/** The weights of LPIPS: VGG16's and the linear layers'. Throws VtpError `weights_missing` and the like. */
export async function resolvePerceptual(options: WeightsOptions): Promise<{ vgg16: WeightsFile; lpips: WeightsFile }> {
  return { vgg16: await resolveWeights('vgg16', options), lpips: await resolveWeights('lpips', options) }
}
