/**
 * Latents → images: the one way to run a pixel decoder. `pixels` are the 8 bits that the family's own script saves,
 * `image` the floats before them. An image does not depend on those that it is decoded with.
 */
import { usageError } from '../errors.js'
import { type DecoderSpec, decoderOf, type ImageModel, type ImageSize, type Precision } from '../model/index.js'
import { chooseBatch, type Device } from './device.js'
import { openNetwork } from './session-pool.js'

export interface ImageDecoderOptions {
  device: Device
  /** Of the latents, [C, height, width]. */
  grid: ImageSize
  /** Default: the device's. */
  precision?: Precision
  /** As in `DecoderSpec`. */
  normalize?: DecoderSpec['normalize']
  /** Images per pass that were asked for; default: what suits the device and fits into its memory. */
  batchSize?: number
  /** Images that there are, where they are few: no pass is larger. */
  images?: number
  onNote?: (line: string) => void
}

/** `pixels`: uint8 [H, W, 3]; `image`: float32 [3, H, W], which `PixelDecoder.mean` and `std` bring to 0…1. */
export interface DecodedData {
  pixels: Uint8Array
  image: Float32Array
}

export interface ImageDecoder<Output extends keyof DecodedData = 'pixels'> {
  readonly device: Device
  /** Of the images that it makes. */
  readonly size: ImageSize
  /** Images per pass that keep the device busy. */
  readonly batchSize: number
  /** float32 [count, C, h, w], which are transferred away → count images one after the other. */
  decode(latents: Float32Array, count: number): Promise<DecodedData[Output]>
  close(): Promise<void>
}

/**
 * Opens a model's decoder for one of its two outputs, so that nobody pays for what is not asked for. Throws usage
 * errors `no_decoder`, `latent_grid`, and VtpError `engine_open_failed`.
 */
export async function openImageDecoder<Output extends keyof DecodedData>(
  model: ImageModel,
  output: Output,
  options: ImageDecoderOptions,
): Promise<ImageDecoder<Output>> {
  const { device, grid, normalize, onNote } = options
  const { height, width } = grid
  const decoder = decoderOf(model)
  const precision = options.precision ?? device.precision
  const outputs = output === 'pixels' ? undefined : [output]
  const graph = await decoder.compile({ height, width, outputs, precision, normalize })
  const latentShape = graph.inputs[0]!.shape.slice(1).map(Number)
  const [, h, w] = latentShape
  if (h !== height || w !== width)
    throw usageError(
      'latent_grid',
      `The model ${model.name} decodes latents of ${h}×${w} places, not ${height}×${width}`,
      ['give the model that made them with --model'],
    )
  const load = decoder.load(grid, precision)
  const most = Math.min(device.batchSize, options.images ?? Number.POSITIVE_INFINITY)
  const batchSize = await chooseBatch(device, load, { asked: options.batchSize, most, onNote })
  const session = await openNetwork(graph, { device, batchSize, onNote })
  return {
    device,
    size: decoder.imageSize(grid),
    batchSize,
    async decode(latents, count) {
      const input = { data: latents, dtype: 'float32', dims: [count, ...latentShape] }
      const { outputs } = await session.run({ latents: input }, [output])
      return outputs[output]!.data as DecodedData[Output]
    },
    close: () => session.close(),
  }
}
