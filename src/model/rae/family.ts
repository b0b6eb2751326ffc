/** RAE as a family: a frozen encoder of DINOv2, SigLIP 2 or MAE, and a decoder of its own, bound together by a YAML. */
import path from 'node:path'
import { usageError, VtpError } from '../../errors.js'
import { openTensorFile } from '../../io/tensor-file.js'
import { autoencoderModel } from '../blocks/autoencoder-model.js'
import { gridOf } from '../blocks/patches.js'
import { withWeights } from '../blocks/with-weights.js'
import { checkTensors } from '../check-tensors.js'
import { checkpointDigest } from '../digest.js'
import type { Candidate, Claim, Family, LocalCheckpoint, OpenContext } from '../family.js'
import type { ImageModel, ImageSize } from '../image-model.js'
import { blockActivations } from '../memory.js'
import { findYaml, locate, missingPart, parseDecoder, type RaeParams } from './config.js'
import { openRaeEncoder } from './encoder.js'
import { buildRaeDecoder, buildRaeEncoder, decoderShapes, type LatentStats, type RaeShape } from './graph.js'

export const rae: Family = {
  name: 'rae',
  title: 'RAE (a YAML with stage_1, its decoder and stat.pt)',
  claim,
  open,
}

/** The folder of the encoder among the files, or undefined: then it is a hub id. */
function encoderFolder(candidate: Candidate, { encoder_config_path: named }: RaeParams): string | undefined {
  const folder = named?.replace(/\/+$/, '')
  return folder !== undefined && candidate.files.includes(`${folder}/config.json`) ? folder : undefined
}

async function claim(candidate: Candidate): Promise<Claim | undefined> {
  const yaml = await findYaml(candidate)
  if (!yaml) return undefined
  const { params } = yaml
  const where = `${candidate.ref}/${yaml.name}`
  const decoder = params.pretrained_decoder_path && locate(candidate, params.pretrained_decoder_path)
  if (!decoder) throw missingPart(where, 'the decoder', params.pretrained_decoder_path)
  const config = locate(candidate, `${params.decoder_config_path ?? 'decoder'}/config.json`)
  if (!config) throw missingPart(where, 'the configuration of the decoder', params.decoder_config_path)
  const stats = params.normalization_stat_path
  const found = stats ? locate(candidate, stats) : undefined
  if (stats && !found) throw missingPart(where, 'the statistics', stats)
  const folder = encoderFolder(candidate, params)
  const own = folder === undefined ? [] : candidate.files.filter((name) => name.startsWith(`${folder}/`))
  return { files: [yaml.name, config, ...(found ? [found] : []), ...own, decoder] }
}

async function open(local: LocalCheckpoint, { cacheDir, openModel }: OpenContext): Promise<ImageModel> {
  const { folder, claim, name } = local
  const yaml = (await findYaml(local))!
  const { params } = yaml
  const where = `${folder}/${yaml.name}`
  const inside = encoderFolder(local, params)
  const encoderPlace = inside === undefined ? await hubEncoder(params, where, openModel) : path.join(folder, inside)
  const size = params.encoder_input_size
  const encoder = await openRaeEncoder(yaml.encoder, encoderPlace, size)
  try {
    const configFile = locate(local, `${params.decoder_config_path ?? 'decoder'}/config.json`)!
    const decoder = parseDecoder(await local.readJson(configFile), params.decoder_patch_size, `${folder}/${configFile}`)
    return await withWeights(folder, claim.files.at(-1)!, { keys: ['model', 'state_dict', 'ema'] }, async (weights) => {
      const { tower } = encoder
      const { h, w } = gridOf({ height: size, width: size, patch: tower.patch })
      const shape: RaeShape = { channels: tower.shape.dim, h, w }
      checkTensors(decoderShapes(decoder, shape.channels, h * w), weights.tensors, {
        place: folder,
        config: configFile,
      })
      const statsFile = params.normalization_stat_path ? locate(local, params.normalization_stat_path) : undefined
      const stats = statsFile ? await readStats(path.join(folder, statsFile), shape) : {}
      const files = [...encoder.weights.files, ...(statsFile ? [path.join(folder, statsFile)] : []), ...weights.files]
      const settings = { family: 'rae', encoder: encoder.settings, kind: yaml.encoder, size, decoder }
      const digest = await checkpointDigest(settings, files, cacheDir)
      const out = { height: h * decoder.patch, width: w * decoder.patch }
      return autoencoderModel({
        family: 'rae',
        name,
        folder,
        cacheDir,
        digest,
        weights,
        settings: yaml.raw,
        parts: [{ key: 'pixelDecoder', title: 'pixel decoder', owns: () => true }],
        imageSize: out,
        transform: (_job, { height, width }) =>
          height === width ? `adm-crop(${height})` : `resize(${height},${width},bilinear)`,
        assertSize: (wanted) => assertSide(wanted, out),
        columns: () => [{ name: 'latents', dtype: 'float32', shape: [shape.channels, h, w] }],
        protocol: { latents: `${yaml.encoder} at ${size}×${size}, last norm without weights, normalised by stat.pt` },
        buildEncoder: (graph, spec) => buildRaeEncoder(graph, tower, stats, shape, spec),
        activations: () =>
          Math.max(
            blockActivations({ tokens: h * w + 5, ...tower.shape }),
            blockActivations({ tokens: h * w + 1, ...decoder.shape }),
          ),
        latentShape: () => [shape.channels, h, w],
        decodedSize: () => out,
        mean: [0, 0, 0],
        std: [1, 1, 1],
        rounding: 'truncate',
        buildDecoder: async (graph, spec) =>
          buildRaeDecoder(graph, decoder, weights.readFloat32, stats, shape, tower, spec),
        lacks: {
          text: 'it knows images only',
          clip: 'it has no embedding that texts share',
          cls: 'its encoder is a model of its own: give that one',
          patches: 'its encoder is a model of its own: give that one',
          layers: 'its encoder is a model of its own: give that one',
          codes: 'it is not quantised',
          logits: 'it has no classification head',
        },
        close: () => encoder.weights.close(),
      })
    })
  } catch (error) {
    await encoder.weights.close()
    throw error
  }
}

/** Downloads the encoder that the YAML names by its hub id; gives its folder. */
async function hubEncoder(params: RaeParams, where: string, openModel: OpenContext['openModel']): Promise<string> {
  const named = (params.encoder_params as { model_name?: unknown } | null)?.model_name
  const id = params.encoder_config_path ?? (typeof named === 'string' ? named : undefined)
  if (id === undefined) throw missingPart(where, 'the encoder', undefined)
  const model = await openModel(id)
  await model.close()
  return model.folder
}

/** Every image is brought to the encoder's own size, so latents have one shape; what is decoded has one size, too. */
function assertSide({ height, width }: ImageSize, out: ImageSize): void {
  if (height === out.height && width === out.width) return
  throw usageError('bad_image_size', `The model takes images of ${out.height}×${out.width}, not ${height}×${width}`, [
    `use ${out.height}×${out.width}`,
  ])
}

/** `mean` and `var`, each [C, h, w] or [C, 1, 1]; either may be absent. */
async function readStats(file: string, { channels, h, w }: RaeShape): Promise<LatentStats> {
  const opened = await openTensorFile(file)
  try {
    const read = async (name: string): Promise<Float32Array | undefined> => {
      const shape = opened.shapes.get(name)
      if (!shape) return undefined
      const values = await opened.readFloat32(name)
      if (values.length === channels)
        return Float32Array.from({ length: channels * h * w }, (_, i) => values[Math.floor(i / (h * w))]!)
      if (values.length === channels * h * w) return values
      throw new VtpError(`${file}: ${name} is [${shape}], expected [${channels},${h},${w}] or [${channels},1,1]`, {
        code: 'bad_checkpoint',
        exitCode: 2,
      })
    }
    return { mean: await read('mean'), variance: await read('var') }
  } finally {
    await opened.close()
  }
}
