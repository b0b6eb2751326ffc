/** VILA-U's vision tower as a family: SigLIP features, quantised in steps, and a decoder of images. */
import { usageError } from '../../errors.js'
import { missingFile, pickWeights, type Weights } from '../../io/weights.js'
import { autoencoderModel } from '../blocks/autoencoder-model.js'
import { gridOf } from '../blocks/patches.js'
import { assertHoldsPatch } from '../blocks/tower-model.js'
import { vqganFactor, vqganShapes } from '../blocks/vqgan.js'
import { withWeights } from '../blocks/with-weights.js'
import { checkTensors, type Shapes } from '../check-tensors.js'
import { checkpointDigest } from '../digest.js'
import type { Candidate, Claim, Family, LocalCheckpoint, OpenContext } from '../family.js'
import type { ImageModel, ImageSize } from '../image-model.js'
import { blockActivations } from '../memory.js'
import { siglipTextTower } from '../siglip/graph.js'
import { siglipShapes } from '../siglip/tensors.js'
import { tokenizerFiles } from '../siglip/tokenizer-files.js'
import { MODEL_TYPE, parseVilauConfig, type VilauConfig } from './config.js'
import { buildVilauDecoder, buildVilauEncoder, codebookName } from './graph.js'

const SIGLIP_CONFIG = 'siglip_config/config.json'

export const vilau: Family = {
  name: 'vilau',
  title: 'VILA-U (vision_tower/config.json with model_type rqvaesigliptransformer_model)',
  claim,
  open,
}

/** The tower by itself, or inside the folder of the whole model. */
async function placeOf(candidate: Candidate): Promise<string | undefined> {
  for (const place of ['', 'vision_tower/'])
    if ((await candidate.readJson(`${place}config.json`))?.model_type === MODEL_TYPE) return place
  return undefined
}

async function claim(candidate: Candidate): Promise<Claim | undefined> {
  if (candidate.file !== undefined) return undefined
  const place = await placeOf(candidate)
  if (place === undefined) return undefined
  const inside = candidate.files.filter((name) => name.startsWith(place)).map((name) => name.slice(place.length))
  const weights = pickWeights(inside)
  if (weights === undefined) throw missingFile(candidate.ref, `${place}model.safetensors`)
  const extra = [...(inside.includes(SIGLIP_CONFIG) ? [SIGLIP_CONFIG] : []), ...tokenizerFiles(inside)]
  return { files: ['config.json', ...extra, weights].map((name) => place + name) }
}

/** Names without the prefixes of the parts that are used; what generation and training need goes. */
function rename(stored: string): string | undefined {
  if (!stored.startsWith('rqvaesiglip.')) return undefined
  const name = stored.slice('rqvaesiglip.'.length)
  if (/(_ema|position_ids)$/.test(name) || /^siglip_model\.logit_/.test(name)) return undefined
  return name.replace(/^siglip_model\./, '')
}

async function open(local: LocalCheckpoint, { cacheDir }: OpenContext): Promise<ImageModel> {
  const { folder, name } = local
  const place = (await placeOf(local))!
  const file = local.claim.files.at(-1)!
  return withWeights(folder, file, { rename }, async (weights) => {
    const raw = await local.readJson(`${place}config.json`)
    const where = `${folder}/${place}config.json`
    const config = parseVilauConfig(raw, await local.readJson(place + SIGLIP_CONFIG), weights.tensors, where)
    checkVilau(config, weights, folder)
    const digest = await checkpointDigest({ family: 'vilau', ...config }, weights.files, cacheDir)
    const { siglip, fold, depth, decoderGrid } = config
    const { dim } = siglip.shape
    const factor = vqganFactor(weights.tensors.keys(), 'decoder')
    const width = weights.tensors.get('decoder.norm_out.weight')!.shape[0]!
    const grid = (size: ImageSize): { h: number; w: number } => gridOf({ ...size, patch: siglip.patch })
    const decodedSize = (latents: ImageSize): ImageSize => ({
      height: (decoderGrid?.h ?? latents.height) * factor,
      width: (decoderGrid?.w ?? latents.width) * factor,
    })
    return autoencoderModel({
      family: 'vilau',
      name,
      folder,
      cacheDir,
      digest,
      weights,
      settings: raw!,
      parts: [
        { key: 'imageEncoder', title: 'image encoder', owns: (tensor) => tensor.startsWith('vision_model.') },
        { key: 'textEncoder', title: 'text encoder', owns: (tensor) => tensor.startsWith('text_model.') },
        { key: 'quantizer', title: 'quantiser', owns: (tensor) => tensor.startsWith('quantizer.') },
        { key: 'pixelDecoder', title: 'pixel decoder', owns: (tensor) => /^(decoder|post_quant_conv)\./.test(tensor) },
      ],
      imageSize: { height: siglip.size, width: siglip.size },
      transform: (_job, { height, width: columns }) => `resize(${height},${columns},bicubic)`,
      assertSize: (size) => assertFolds(size, siglip.patch, fold),
      columns: (size) => {
        const { h, w } = grid(size)
        return [
          { name: 'latents', dtype: 'float32', shape: [dim, h, w] },
          ...(siglip.head ? [{ name: 'clip', dtype: 'float32' as const, shape: [dim] }] : []),
          { name: 'codes', dtype: 'int32', shape: [h / fold, w / fold, depth] },
        ]
      },
      probed: siglip.head ? { output: 'pooled', dim } : undefined,
      protocol: {
        latents: 'sum of the codebook entries',
        clip: 'quantised tokens through the last block and the pooling head (the authors released no code for it)',
        decoder: 'float32 (the official code only runs in bfloat16)',
      },
      buildEncoder: (graph, spec) => buildVilauEncoder(graph, config, weights, spec),
      activations: (size) => {
        const { h, w } = grid(size)
        return Math.max(blockActivations({ tokens: h * w, ...siglip.shape }), 4 * width * size.height * size.width)
      },
      latentShape: (size) => [dim, grid(size).h, grid(size).w],
      decodedSize,
      rounding: 'truncate',
      buildDecoder: async (graph, spec) => buildVilauDecoder(graph, config, weights, spec),
      text: {
        tower: siglipTextTower(siglip, weights.readFloat32),
        openTokenizer: async () =>
          (await import('../siglip/tokenizer.js')).openSiglipTokenizer(local, siglip.text.vocabulary),
        probabilities: 'sigmoid',
      },
      lacks: {
        cls: 'it has no class token',
        patches: 'its tokens are its latents',
        layers: 'only its quantised tokens are offered',
        logits: 'it has no classification head',
      },
    })
  })
}

/** Places of codes are whole groups of patches. */
function assertFolds(size: ImageSize, patch: number, fold: number): void {
  assertHoldsPatch(size, patch * fold)
  const { h, w } = gridOf({ ...size, patch })
  if (h % fold === 0 && w % fold === 0) return
  throw usageError(
    'bad_image_size',
    `The image size ${size.height}×${size.width} has ${h}×${w} patches, which cannot be grouped by ${fold}×${fold}`,
    [`use a multiple of ${patch * fold}`],
  )
}

/** Throws VtpError `bad_checkpoint` that names what is missing, unknown or of another shape. */
function checkVilau(config: VilauConfig, { tensors }: Weights, folder: string): void {
  const { siglip, entries, depth, fold } = config
  const { dim } = siglip.shape
  const names = new Set(tensors.keys())
  const has = (name: string): boolean => names.has(name)
  const expected: Shapes = new Map([
    ...siglipShapes(siglip),
    ...vqganShapes(names, (name) => tensors.get(name)?.shape, { base: 'decoder', kind: 'up', input: dim, output: 3 }),
  ])
  expected.set('post_quant_conv.weight', [dim, dim, 1, 1])
  expected.set('post_quant_conv.bias', [dim])
  for (let step = 0; step < depth; step++)
    expected.set(codebookName(config, step, has), [entries + 1, dim * fold * fold])
  checkTensors(expected, tensors, { place: folder, ignored: (name) => /^logit_(scale|bias)$/.test(name) })
}
