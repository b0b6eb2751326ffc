/**
 * Pixels → the outputs of a model: the one way to run an image encoder. It compiles the graph, fits the batch to the
 * device's memory, opens a session in every lane and takes any number of rows. An image's outputs do not depend on
 * the images that it is encoded with.
 */
import type { EncoderSpec, GraphFile, ImageModel, ImageSize, Precision } from '../model/index.js'
import type { TensorData } from '../types.js'
import { chooseBatch, type Device } from './device.js'
import { openNetwork } from './session-pool.js'

export interface ImageEncoderOptions {
  device: Device
  /** Of the images. */
  size: ImageSize
  outputs: EncoderSpec['outputs']
  layers?: number[]
  /** Whether the final norm is applied to layers; default true. */
  layersNorm?: boolean
  /** Element type of the pixels; default uint8. */
  pixels?: EncoderSpec['pixels']
  /** Element type of the float outputs; default float32. */
  dtype?: 'float16' | 'float32'
  /** Default: the device's. */
  precision?: Precision
  /** Images per pass that were asked for; default: what suits the device and fits into its memory. */
  batchSize?: number
  /** Images that there are, where they are few: no pass is larger. */
  images?: number
  onNote?: (line: string) => void
}

export interface EncodedImages {
  /** By the names of a shard's columns; rows one after the other. */
  tensors: Record<string, TensorData>
  /** Seconds inside the engine, without queueing. */
  seconds: number
}

export interface ImageEncoder {
  readonly device: Device
  readonly size: ImageSize
  /** Images per pass that keep the device busy. */
  readonly batchSize: number
  /** What the graph gives for an image, by name. */
  readonly shapes: ReadonlyMap<string, number[]>
  /** `pixels` uint8 [count, H, W, 3], which may lie in shared memory; other memory is transferred away. `only` limits the outputs. */
  encode(pixels: Uint8Array | Float32Array, count: number, only?: string[]): Promise<EncodedImages>
  close(): Promise<void>
}

/** Opens the encoder of a model. Throws as its `compileEncoder`, and VtpError `engine_open_failed`. */
export async function openImageEncoder(model: ImageModel, options: ImageEncoderOptions): Promise<ImageEncoder> {
  const { device, size, outputs, layers, layersNorm, dtype = 'float32', onNote } = options
  const { height, width } = size
  const precision = options.precision ?? device.precision
  const pixels = options.pixels === 'float32' ? ({ pixels: 'float32' } as const) : {}
  const spec: EncoderSpec = {
    height,
    width,
    ...pixels,
    outputs,
    layers,
    layersNorm,
    dtype,
    precision,
    device: device.kind,
  }
  const graph = await model.compileEncoder(spec)
  const load = model.encoderLoad(size, precision)
  const most = Math.min(device.batchSize, options.images ?? Number.POSITIVE_INFINITY)
  const batchSize = await chooseBatch(device, load, { asked: options.batchSize, most, onNote })
  const session = await openNetwork(graph, { device, batchSize, onNote })
  return {
    device,
    size: { height, width },
    batchSize,
    shapes: rowShapes(graph),
    async encode(pixels, count, only) {
      const input = { data: pixels, dtype: options.pixels ?? 'uint8', dims: [count, height, width, 3] }
      const result = await session.run({ pixels: input }, only)
      const tensors = Object.entries(result.outputs).map(([name, { data }]) => [name, data as TensorData])
      return { tensors: Object.fromEntries(tensors), seconds: result.seconds }
    },
    close: () => session.close(),
  }
}

/** Shapes of a graph's outputs without their rows. */
function rowShapes({ outputs }: GraphFile): Map<string, number[]> {
  return new Map(outputs.map(({ name, shape }) => [name, shape.slice(1).map(Number)]))
}
