/** The outputs of a pixel decoder whose image is −1…1 in planes: as it is, and as the 8 bits that its script saves. */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { addCast } from '../../graph/linear.js'
import { activationDtype } from '../../graph/precision.js'
import type { DecoderSpec, PixelRounding } from '../image-model.js'

/** `image` [N, 3, H, W] in the range of the model; a reconstruction of 0…1 is image · std + mean. */
export interface DecodedImage {
  image: Value
  mean: readonly number[]
  std: readonly number[]
  rounding: PixelRounding
}

export function emitImage(graph: GraphBuilder, spec: DecoderSpec, decoded: DecodedImage): void {
  const { mean, std, rounding } = decoded
  const image = addCast(graph, decoded.image, activationDtype(spec.precision ?? 'fp32'), 'float32')
  const [, , height, width] = image.shape as [unknown, unknown, number, number]
  const outputs = spec.outputs ?? ['pixels']
  if (outputs.includes('image'))
    graph.output(image, { name: 'image', dtype: 'float32', shape: ['N', 3, height, width] })
  if (!outputs.includes('pixels')) return
  // x · 255 std + 255 mean, and half a level where the script rounds half up: its own formula, 127.5x + 128.
  const half = rounding === 'half-up' ? 0.5 : 0
  const scale = graph.constant(
    std.map((value) => 255 * value),
    [3, 1, 1],
  )
  const shift = graph.constant(
    mean.map((value) => 255 * value + half),
    [3, 1, 1],
  )
  const levels = graph.op('Add', [graph.op('Mul', [image, scale]), shift])
  const clipped = graph.op('Clip', [levels, graph.scalar(0), graph.scalar(255)])
  const whole = rounding === 'half-even' ? graph.op('Round', [clipped]) : clipped
  const bytes = graph.op('Cast', [graph.op('Transpose', [whole], { perm: [0, 2, 3, 1] })], { to: 2 })
  graph.output(bytes, { name: 'pixels', dtype: 'uint8', shape: ['N', height, width, 3] })
}
