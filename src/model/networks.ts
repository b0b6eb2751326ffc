/**
 * The networks that judge images, from a file of weights to a compiled graph: Inception-v3 as FID uses it, and the
 * comparison of pairs with LPIPS (VGG16 and its linear layers).
 */
import { createHash } from 'node:crypto'
import path from 'node:path'
import { VtpError } from '../errors.js'
import { compileGraph, type GraphFile } from '../graph/compile.js'
import type { ReadTensor } from '../graph/read-tensor.js'
import { openWeights } from '../io/weights.js'
import { buildInception, type InceptionSpec } from './inception/graph.js'
import { buildPair, LPIPS_TENSORS, type PairSpec, VGG_TENSORS } from './lpips/graph.js'

export { type FidDims, type FidFlavour, INCEPTION_SIZE, type InceptionSpec } from './inception/graph.js'
export { LPIPS_LAYERS, type PairSpec } from './lpips/graph.js'

/** A file of weights, by its digest. */
export interface NetworkFile {
  name: string
  path: string
  sha256: string
}

/** The files of LPIPS. */
export interface PerceptualFiles {
  vgg16: NetworkFile
  lpips: NetworkFile
}

export interface TensorReader {
  read: ReadTensor
  close(): Promise<void>
}

/** Throws VtpError `weights_mismatch` for a file of something else, here or when a tensor is read. */
async function openReader(file: NetworkFile, needed: readonly string[]): Promise<TensorReader> {
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

/** Tensors of VGG16 and of LPIPS's linear layers by their names. Throws VtpError `weights_mismatch`. */
export async function openPerceptual({ vgg16, lpips }: PerceptualFiles): Promise<TensorReader> {
  const features = await openReader(vgg16, VGG_TENSORS)
  try {
    const layers = await openReader(lpips, LPIPS_TENSORS)
    return {
      read: (name) => (name.startsWith('lin') ? layers : features).read(name),
      close: async () => void (await Promise.all([features.close(), layers.close()])),
    }
  } catch (error) {
    await features.close()
    throw error
  }
}

/** Throws VtpError `weights_mismatch`. */
export async function compileInception(file: NetworkFile, spec: InceptionSpec, cacheDir: string): Promise<GraphFile> {
  const reader = await openReader(file, ['Conv2d_1a_3x3.conv.weight', 'Mixed_7c.branch1x1.conv.weight'])
  try {
    return await compileGraph({
      cacheDir,
      modelDigest: file.sha256,
      tower: `inception${spec.spatial ? '-spatial' : ''}${spec.logits ? '-logits' : ''}`,
      spec,
      build: (builder) => buildInception(builder, reader.read, spec),
    })
  } finally {
    await reader.close()
  }
}

/** The comparison of pairs; `files` where it is with LPIPS. Throws VtpError `weights_mismatch`. */
export async function compilePairs(
  files: PerceptualFiles | undefined,
  spec: PairSpec,
  cacheDir: string,
): Promise<GraphFile> {
  const reader = files && (await openPerceptual(files))
  const digests = files ? [files.vgg16.sha256, files.lpips.sha256] : []
  try {
    return await compileGraph({
      cacheDir,
      modelDigest: createHash('sha256').update(digests.join(' ')).digest('hex'),
      tower: 'pairs',
      spec,
      build: (builder) => buildPair(builder, (name) => reader!.read(name), spec),
    })
  } finally {
    await reader?.close()
  }
}
