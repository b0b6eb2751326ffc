/**
 * VA-VAE as a family, and MAR's KL autoencoder, which is the same network without attention in the decoder's levels.
 * One file of weights, a YAML beside it or none: what the network looks like is read off its tensors.
 * Reference: hustvl/LightningDiT 9860985, tokenizer/autoencoder.py and tokenizer/vavae.py.
 */
import { usageError, VtpError } from '../../errors.js'
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { addCast } from '../../graph/linear.js'
import { activationDtype, type Precision } from '../../graph/precision.js'
import type { Weights } from '../../io/weights.js'
import { autoencoderModel } from '../blocks/autoencoder-model.js'
import { HALF } from '../blocks/constants.js'
import { addConvolution, type ConvContext, registerConvolution } from '../blocks/convolution.js'
import { emitImage } from '../blocks/decoded-image.js'
import { claimTorchFile } from '../blocks/torch-claim.js'
import {
  addSignedPixels,
  registerVqganDecoder,
  registerVqganEncoder,
  vqganFactor,
  vqganShapes,
} from '../blocks/vqgan.js'
import { withWeights } from '../blocks/with-weights.js'
import { checkTensors, type Shapes } from '../check-tensors.js'
import { checkpointDigest } from '../digest.js'
import type { Candidate, Claim, Family, LocalCheckpoint, OpenContext } from '../family.js'
import type { DecoderSpec, EncoderSpec, ImageModel, ImageSize } from '../image-model.js'

const KEYS = ['state_dict', 'model']
const TRAINED_SIZE = 256

export const vavae: Family = {
  name: 'vavae',
  title: 'VA-VAE (vavae-*.pt, kl16.ckpt)',
  claim,
  open,
}

async function claim(candidate: Candidate): Promise<Claim | undefined> {
  if (candidate.file === undefined && candidate.files.includes('config.json')) return undefined
  const found = await claimTorchFile(candidate, {
    named: /(va-?vae|kl\d*).*\.(pt|ckpt|pth)$/i,
    keys: KEYS,
    isMine: (shapes) => shapes.has('quant_conv.weight') && shapes.has('decoder.mid.block_1.conv1.weight'),
  })
  if (!found) return undefined
  const yaml = candidate.files.filter((name) => /^[^/]+\.ya?ml$/.test(name))
  return { files: [...yaml, ...found.files] }
}

/** What only training needs: the discriminator, the vision model that latents were aligned with, the optimiser's copies. */
const TRAINING = /^(loss|foundation_model|linear_proj|model_ema|vf_|discriminator)\b/

async function open(local: LocalCheckpoint, { cacheDir }: OpenContext): Promise<ImageModel> {
  const { folder, claim, name } = local
  const file = claim.files.at(-1)!
  return withWeights(
    folder,
    file,
    {
      keys: KEYS,
      rename: (stored) => (TRAINING.test(stored) ? undefined : stored.replace(/^module\./, '')),
    },
    async (weights) => {
      const channels = checkVavae(weights, folder)
      const settings = await readSettings(local, channels)
      const names = new Set(weights.tensors.keys())
      const factor = vqganFactor(names, 'encoder')
      const digest = await checkpointDigest({ family: 'vavae' }, weights.files, cacheDir)
      const width = weights.tensors.get('encoder.conv_in.weight')!.shape[0]!
      const grid = ({ height, width }: ImageSize): [number, number] => [shrink(height, factor), shrink(width, factor)]
      return autoencoderModel({
        family: 'vavae',
        name,
        folder,
        cacheDir,
        digest,
        weights,
        settings,
        parts: [
          { key: 'encoder', title: 'encoder', owns: (tensor) => /^(encoder|quant_conv)\./.test(tensor) },
          {
            key: 'pixelDecoder',
            title: 'pixel decoder',
            owns: (tensor) => /^(decoder|post_quant_conv)\./.test(tensor),
          },
        ],
        imageSize: { height: TRAINED_SIZE, width: TRAINED_SIZE },
        transform: (job, { height, width }) =>
          height !== width
            ? `resize(${height},${width},bilinear)`
            : job === 'reconstruction'
              ? `float-resize(${height},bilinear)|center-crop(${height})`
              : `adm-crop(${height})`,
        assertSize: ({ height, width }) => assertHolds(height, width, factor),
        columns: (size) => [{ name: 'latents', dtype: 'float32', shape: [channels, ...grid(size)] }],
        protocol: { latents: 'mean of the posterior (the reference samples it)' },
        drawsLatents: true,
        takesFloats: true,
        buildEncoder: async (graph, spec) => buildEncoder(graph, weights, spec, channels),
        activations: ({ height, width: columns }) => 4 * width * height * columns,
        latentShape: (size) => [channels, ...grid(size)],
        decodedSize: ({ height, width }) => ({ height: height * factor, width: width * factor }),
        rounding: 'half-up',
        buildDecoder: async (graph, spec) => buildDecoder(graph, weights, spec, channels),
        lacks: {
          text: 'it knows images only',
          clip: 'it has no embedding that texts share',
          cls: 'it has no class token',
          patches: 'it has no tokens',
          layers: 'it has no transformer blocks',
          codes: 'it is not quantised',
          logits: 'it has no classification head',
        },
      })
    },
  )
}

/** Strided convolutions with one zero behind: each level halves, rounding down. */
function shrink(size: number, factor: number): number {
  return Math.floor(size / factor)
}

function assertHolds(height: number, width: number, factor: number): void {
  if (height >= factor && width >= factor) return
  throw usageError('bad_image_size', `The image size ${height}×${width} is smaller than one latent of the model`, [
    `use at least ${factor}×${factor}`,
  ])
}

/** Throws VtpError `bad_checkpoint`; gives the channels of a latent. */
function checkVavae({ tensors }: Weights, folder: string): number {
  const names = new Set(tensors.keys())
  const shapeOf = (name: string): readonly number[] | undefined => tensors.get(name)?.shape
  const channels = (shapeOf('quant_conv.weight')?.[0] ?? 0) / 2
  const between = shapeOf('quant_conv.weight')?.[1] ?? 0
  const inner = shapeOf('post_quant_conv.weight')?.[0] ?? 0
  const expected: Shapes = new Map([
    ...vqganShapes(names, shapeOf, { base: 'encoder', kind: 'down', input: 3, output: between }),
    ...vqganShapes(names, shapeOf, { base: 'decoder', kind: 'up', input: inner, output: 3 }),
  ])
  expected.set('quant_conv.weight', [2 * channels, between, 1, 1])
  expected.set('quant_conv.bias', [2 * channels])
  expected.set('post_quant_conv.weight', [inner, channels, 1, 1])
  expected.set('post_quant_conv.bias', [inner])
  checkTensors(expected, tensors, { place: folder, config: 'its own sizes' })
  if (!Number.isInteger(channels) || channels < 1)
    throw new VtpError(`${folder}: quant_conv has ${2 * channels} channels, an even number was expected`, {
      code: 'bad_checkpoint',
      exitCode: 2,
    })
  return channels
}

/** The YAML beside the weights, which may disagree with them only in what the reference's own code ignores. */
async function readSettings(local: LocalCheckpoint, channels: number): Promise<Record<string, unknown>> {
  const name = local.claim.files.find((file) => /\.ya?ml$/.test(file))
  const text = name && (await local.readText(name))
  if (!text) return { latentChannels: channels }
  const { parseYaml } = await import('../../io/yaml.js')
  let raw: unknown
  try {
    raw = parseYaml(text)
  } catch (error) {
    throw new VtpError(`${local.folder}/${name} is not valid YAML: ${(error as Error).message}`, {
      code: 'bad_config',
      exitCode: 2,
      cause: error,
    })
  }
  const params = (raw as { model?: { params?: { embed_dim?: unknown } } } | null)?.model?.params
  if (typeof params?.embed_dim === 'number' && params.embed_dim !== channels)
    throw new VtpError(
      `${local.folder}/${name}: embed_dim ${params.embed_dim}, but the checkpoint's latents have ${channels} channels`,
      { code: 'bad_config', exitCode: 2, suggestions: ['put the YAML of the same checkpoint beside it, or none'] },
    )
  return (raw ?? {}) as Record<string, unknown>
}

function contextOf(graph: GraphBuilder, { readFloat32, tensors }: Weights, precision: Precision): ConvContext {
  return { graph, precision, read: readFloat32, shapeOf: (name) => tensors.get(name)!.shape }
}

/** Outputs: `latents`, the mean of the posterior, and hidden `logvar`, clamped to −30…20. */
function buildEncoder(graph: GraphBuilder, weights: Weights, spec: EncoderSpec, channels: number): void {
  const { precision, dtype } = spec
  const context = contextOf(graph, weights, precision)
  const encoder = registerVqganEncoder(context, 'encoder', new Set(weights.tensors.keys()))
  const quant = registerConvolution(context, 'quant_conv')
  const image = addSignedPixels(graph, spec)
  const moments = addConvolution(graph, encoder(addCast(graph, image, 'float32', activationDtype(precision))), quant)
  const wide = addCast(graph, moments, activationDtype(precision), 'float32')
  const [, , h, w] = wide.shape as [unknown, unknown, number, number]
  const half = (start: number): Value =>
    graph.op('Slice', [wide, graph.ints([start]), graph.ints([start + channels]), graph.ints([1])])
  const emit = (name: 'latents' | 'logvar', value: Value): void => {
    if (!spec.outputs.includes(name)) return
    graph.output(addCast(graph, value, 'float32', dtype), { name, dtype, shape: ['N', channels, h, w] })
  }
  emit('latents', half(0))
  emit('logvar', graph.op('Clip', [half(channels), graph.scalar(-30), graph.scalar(20)]))
}

function buildDecoder(graph: GraphBuilder, weights: Weights, spec: DecoderSpec, channels: number): void {
  const precision = spec.precision ?? 'fp32'
  const context = contextOf(graph, weights, precision)
  const post = registerConvolution(context, 'post_quant_conv')
  const decoder = registerVqganDecoder(context, 'decoder', new Set(weights.tensors.keys()))
  const latents = graph.input({ name: 'latents', dtype: 'float32', shape: ['N', channels, spec.height, spec.width] })
  const image = decoder(addConvolution(graph, addCast(graph, latents, 'float32', activationDtype(precision)), post))
  emitImage(graph, spec, { image, mean: HALF, std: HALF, rounding: 'half-up' })
}
