/** From files of weights to open sessions: Inception-v3, and the graph that compares pairs of images. */
import { createHash } from 'node:crypto'
import path from 'node:path'
import type { Device } from '../../engine/device.js'
import type { Session } from '../../engine/session.js'
import { openNetwork } from '../../engine/session-pool.js'
import { VtpError } from '../../errors.js'
import { compileGraph } from '../../graph/compile.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { openWeights } from '../../io/weights.js'
import { buildInception, type InceptionSpec } from '../../model/inception/graph.js'
import { buildPair, LPIPS_TENSORS, type PairSpec, VGG_TENSORS } from '../../model/lpips/graph.js'
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

interface Reader {
  read: ReadTensor
  close(): Promise<void>
}

async function openReader(file: WeightsFile, needed: string[] = []): Promise<Reader> {
  const opened = await openWeights(path.dirname(file.path), path.basename(file.path), { keys: ['state_dict'] })
  const check = (name: string): void => {
    if (opened.tensors.has(name)) return
    throw new VtpError(`${file.path} has no tensor "${name}": it is not a file of ${file.name} weights`, {
      code: 'weights_mismatch',
    })
  }
  try {
    needed.forEach(check)
  } catch (error) {
    await opened.close()
    throw error
  }
  const read: ReadTensor = async (name) => {
    check(name)
    return opened.readFloat32(name)
  }
  return { read, close: opened.close }
}

/** Opens Inception-v3 as FID uses it. Throws VtpError `weights_missing` and the like. */
export async function openInception(spec: InceptionSpec, options: NetworkOptions): Promise<OpenNetwork> {
  const weights = await resolveWeights('inception', options)
  const reader = await openReader(weights, ['Conv2d_1a_3x3.conv.weight', 'Mixed_7c.branch1x1.conv.weight'])
  try {
    const graph = await compileGraph({
      cacheDir: options.cacheDir,
      modelDigest: weights.sha256,
      tower: `inception${spec.spatial ? '-spatial' : ''}${spec.logits ? '-logits' : ''}`,
      spec,
      build: (builder) => buildInception(builder, reader.read, spec),
    })
    return { session: await openNetwork(graph, options), weights: [weights] }
  } finally {
    await reader.close()
  }
}

/** Opens the graph of pairs (lpips.ts); without LPIPS it needs no weights. */
export async function openPairs(spec: PairSpec, options: NetworkOptions): Promise<OpenNetwork> {
  const perceptual = spec.lpips ? await openPerceptual(options) : undefined
  const weights = perceptual?.weights ?? []
  try {
    const read: ReadTensor = (name) => perceptual!.read(name)
    const digest = createHash('sha256')
      .update(weights.map((file) => file.sha256).join(' '))
      .digest('hex')
    const graph = await compileGraph({
      cacheDir: options.cacheDir,
      modelDigest: digest,
      tower: 'pairs',
      spec,
      build: (builder) => buildPair(builder, read, spec),
    })
    return { session: await openNetwork(graph, options), weights }
  } finally {
    await perceptual?.close()
  }
}

export interface PerceptualWeights extends Reader {
  weights: WeightsFile[]
}

/** The weights of LPIPS: VGG16's and the linear layers'. Throws VtpError `weights_missing` and the like. */
export async function openPerceptual(options: WeightsOptions): Promise<PerceptualWeights> {
  const weights: WeightsFile[] = []
  const readers: Reader[] = []
  const close = async (): Promise<void> => void (await Promise.all(readers.map((reader) => reader.close())))
  try {
    for (const [name, needed] of [
      ['vgg16', VGG_TENSORS],
      ['lpips', LPIPS_TENSORS],
    ] as const) {
      const file = await resolveWeights(name, options)
      weights.push(file)
      readers.push(await openReader(file, needed))
    }
  } catch (error) {
    await close()
    throw error
  }
  return { weights, read: (name) => readers[name.startsWith('lin') ? 1 : 0]!.read(name), close }
}
