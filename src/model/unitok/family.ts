/** UniTok as a family: an image tokenizer of several codebooks that is CLIP, too. */
import path from 'node:path'
import { usageError } from '../../errors.js'
import type { Weights } from '../../io/weights.js'
import { autoencoderModel } from '../blocks/autoencoder-model.js'
import { setLinear, setNorm } from '../blocks/layouts.js'
import { claimTorchFile } from '../blocks/torch-claim.js'
import { otherVocabulary } from '../blocks/tower-model.js'
import { withWeights } from '../blocks/with-weights.js'
import { checkTensors, type Shapes } from '../check-tensors.js'
import { textTower } from '../clip/graph.js'
import { openClipTextNames, setTextShapes } from '../clip/tensors.js'
import { checkpointDigest } from '../digest.js'
import type { Candidate, Claim, Family, LocalCheckpoint, OpenContext } from '../family.js'
import type { ImageModel, ImageSize } from '../image-model.js'
import { blockActivations } from '../memory.js'
import { FACTOR, inferUnitokConfig, readArgs, type UnitokConfig } from './config.js'
import { buildUnitokDecoder, buildUnitokEncoder, latentChannels } from './graph.js'
import { setProjection } from './projection.js'

const KEYS = ['trainer.unitok', 'unitok', 'model', 'state_dict']

export const unitok: Family = {
  name: 'unitok',
  title: 'UniTok (unitok_tokenizer.pth)',
  claim,
  open,
}

async function claim(candidate: Candidate): Promise<Claim | undefined> {
  return claimTorchFile(candidate, {
    named: /unitok.*\.(pth|pt)$/i,
    keys: KEYS,
    isMine: (shapes) => shapes.has('quantizer.codebooks.0.codebook.weight') && shapes.has('encoder.norm.weight'),
  })
}

async function open(local: LocalCheckpoint, { cacheDir }: OpenContext): Promise<ImageModel> {
  const { folder, claim, name } = local
  const file = claim.files.at(-1)!
  return withWeights(
    folder,
    file,
    {
      keys: KEYS,
      rename: (stored) =>
        /(zero_k_bias|vocab_usage|attn_mask)$/.test(stored) ? undefined : stored.replace(/^module\./, ''),
    },
    async (weights) => {
      const args = await readArgs(path.join(folder, file))
      const config = inferUnitokConfig(weights.tensors, args, `${folder}/${file}`)
      checkUnitok(config, weights, folder)
      const digest = await checkpointDigest({ family: 'unitok', ...config }, weights.files, cacheDir)
      const { shape, size, codebooks, queries, embedding, text } = config
      const grid = ({ height, width }: ImageSize): [number, number] => [height / FACTOR, width / FACTOR]
      const latents = (wanted: ImageSize): [number, number, number] => {
        const [h, w] = grid(wanted)
        return [latentChannels(config, h * w), h, w]
      }
      return autoencoderModel({
        family: 'unitok',
        name,
        folder,
        cacheDir,
        digest,
        weights,
        settings: args,
        parts: [
          { key: 'imageEncoder', title: 'image encoder', owns: (tensor) => /^(encoder|quant_proj)\./.test(tensor) },
          { key: 'quantizer', title: 'quantiser', owns: (tensor) => tensor.startsWith('quantizer.') },
          {
            key: 'pixelDecoder',
            title: 'pixel decoder',
            owns: (tensor) => /^(decoder|post_quant_proj)\./.test(tensor),
          },
          { key: 'textEncoder', title: 'text encoder', owns: (tensor) => tensor.startsWith('text_encoder.') },
        ],
        imageSize: { height: size, width: size },
        transform: (job, { height, width }) =>
          height !== width
            ? `resize(${height},${width},bicubic)`
            : job === 'zeroshot'
              ? `resize(${height},bicubic)|center-crop(${height})`
              : `resize(${Math.round(height * 1.125)},lanczos)|center-crop(${height})`,
        assertSize: (wanted) => assertMultiple(wanted),
        columns: (wanted) => {
          const [h, w] = grid(wanted)
          return [
            { name: 'latents', dtype: 'float32', shape: latents(wanted) },
            { name: 'clip', dtype: 'float32', shape: [embedding] },
            { name: 'patches', dtype: 'float32', shape: [queries + h * w, shape.dim] },
            { name: 'codes', dtype: 'int32', shape: [codebooks, queries + h * w] },
          ]
        },
        probed: { output: 'pooled', dim: embedding },
        protocol: { latents: 'quantised vectors', patches: 'quantised tokens, projected back' },
        takesFloats: true,
        buildEncoder: (graph, spec) => buildUnitokEncoder(graph, config, weights, spec),
        activations: ({ height, width }) =>
          Math.max(
            blockActivations({ tokens: queries + (height * width) / FACTOR ** 2, ...shape }),
            4 * weights.tensors.get('encoder.patch_embed.backbone.stem.conv2.weight')!.shape[0]! * height * width,
          ),
        latentShape: latents,
        decodedSize: ({ height, width }) => ({ height: height * FACTOR, width: width * FACTOR }),
        rounding: 'half-even',
        buildDecoder: async (graph, spec) => buildUnitokDecoder(graph, config, weights, spec),
        text: {
          tower: textTower(text, openClipTextNames(text), weights.readFloat32, embedding, true),
          probabilities: 'softmax',
          async openTokenizer() {
            const { createTokenizer, VOCAB_SIZE } = await import('../text/tokenizer.js')
            if (text.vocabulary === VOCAB_SIZE) return createTokenizer()
            throw otherVocabulary(name, text.vocabulary, `CLIP's tokenizer has ${VOCAB_SIZE}`)
          },
        },
        lacks: {
          cls: 'it has no class token',
          layers: 'only its quantised tokens are offered',
          logits: 'it has no classification head',
        },
      })
    },
  )
}

function assertMultiple({ height, width }: ImageSize): void {
  if (height >= FACTOR && width >= FACTOR && height % FACTOR === 0 && width % FACTOR === 0) return
  const near = (x: number): number => Math.max(FACTOR, Math.round(x / FACTOR) * FACTOR)
  throw usageError('bad_image_size', `The image size ${height}×${width} is not a multiple of ${FACTOR}`, [
    `use ${near(height)}×${near(width)}`,
  ])
}

/** Convolutions are checked by their being there; everything else by its shape. */
function checkUnitok(config: UnitokConfig, { tensors }: Weights, folder: string): void {
  const { shape, width, codebooks, entries, embedding, text } = config
  const { dim, hidden } = shape
  const out: Shapes = new Map()
  for (const [prefix, depth] of [
    ['encoder.blocks', config.encoderDepth],
    ['decoder.blocks', config.decoderDepth],
  ] as const) {
    for (let i = 0; i < depth; i++) {
      const base = `${prefix}.${i}`
      setNorm(out, `${base}.norm1`, dim)
      setNorm(out, `${base}.norm2`, dim)
      setLinear(out, `${base}.attn.qkv`, 3 * dim, dim)
      setLinear(out, `${base}.attn.proj`, dim, dim)
      setNorm(out, `${base}.mlp.norm`, dim)
      setLinear(out, `${base}.mlp.w0`, hidden, dim)
      setLinear(out, `${base}.mlp.w1`, hidden, dim)
      setLinear(out, `${base}.mlp.w2`, dim, hidden)
    }
  }
  out.set('encoder.pos_embed', [1, 1, dim])
  if (config.queries > 0) out.set('encoder.reg_token', [1, config.queries, dim])
  for (const name of ['encoder.norm', 'decoder.norm', 'fc_norm']) setNorm(out, name, dim)
  setProjection(out, 'quant_proj', config.projection, dim, width)
  setProjection(out, 'post_quant_proj', config.projection, width, dim)
  for (let i = 0; i < codebooks; i++) out.set(`quantizer.codebooks.${i}.codebook.weight`, [entries, width / codebooks])
  setLinear(out, 'projection', embedding, dim)
  setTextShapes(out, openClipTextNames(text), text, embedding, true)
  for (const [name, shapeThere] of convolutionShapes(tensors)) out.set(name, shapeThere)
  checkTensors(out, tensors, {
    place: folder,
    config: 'its own sizes',
    ignored: (name) => name === 'logit_scale' || /^(encoder\.patch_embed|decoder\.up_conv)/.test(name),
  })
}

/** The convolutions that there must be whatever their sizes. */
function convolutionShapes(tensors: Weights['tensors']): Shapes {
  const backbone = 'encoder.patch_embed.backbone'
  const names = [
    `${backbone}.stem.conv1`,
    `${backbone}.stem.conv2`,
    `${backbone}.stem.norm1`,
    `${backbone}.pool.proj`,
    `${backbone}.pool.norm`,
    'decoder.up_conv1.conv',
    'decoder.up_conv4.conv1.conv',
    'decoder.up_conv4.norm1',
    'decoder.up_conv4.conv2',
  ]
  const parts = names.flatMap((name) => [`${name}.weight`, `${name}.bias`])
  return new Map(parts.map((name) => [name, tensors.get(name)?.shape ?? []]))
}
