/**
 * A second family, as small as one can be, to show what adding one takes: this folder and one entry of the registry.
 * An image is cut into patches of 8; `latents` are a linear map of each, `clip` their mean at length 1; the decoder
 * gives every patch one grey. It has no cls token, no blocks and no texts.
 */

import type { GraphBuilder } from '../../../src/graph/builder.js'
import { openWeights, type Weights } from '../../../src/io/weights.js'
import { addPatchRows, gridOf, patchMatrix } from '../../../src/model/blocks/patches.js'
import { addL2Normalize, addMeanOfTokens } from '../../../src/model/blocks/pooling.js'
import { checkpointDigest } from '../../../src/model/digest.js'
import type { Family } from '../../../src/model/family.js'
import type { DecoderSpec, EncoderSpec, ImageModel, ImageSize } from '../../../src/model/image-model.js'
import { networkLoad } from '../../../src/model/memory.js'
import { compilePart } from '../../../src/model/parts.js'

export const PATCH = 8
export const CHANNELS = 4
const HALF = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] }

function buildEncoder(graph: GraphBuilder, weights: Weights, spec: EncoderSpec): void {
  const grid = { height: spec.height, width: spec.width, patch: PATCH }
  const { h, w } = gridOf(grid)
  const rows = addPatchRows(graph, spec.precision, grid, HALF)
  const matrix = graph.weight('patches', [PATCH * PATCH * 3, CHANNELS], async () =>
    patchMatrix(await weights.readFloat32('patches.weight'), CHANNELS, PATCH),
  )
  const tokens = graph.op('Reshape', [graph.op('MatMul', [rows, matrix]), graph.ints([-1, h * w, CHANNELS])])
  const planes = graph.op('Transpose', [tokens], { perm: [0, 2, 1] })
  const outputs = {
    latents: { value: graph.op('Reshape', [planes, graph.ints([-1, CHANNELS, h, w])]), shape: [CHANNELS, h, w] },
    clip: {
      value: addL2Normalize(graph, addMeanOfTokens(graph, tokens, 'float32', h * w, CHANNELS), 'fp32'),
      shape: [CHANNELS],
    },
  }
  for (const name of ['latents', 'clip'] as const) {
    if (!spec.outputs.includes(name)) continue
    const { value, shape } = outputs[name]
    const stored = spec.dtype === 'float16' ? graph.op('Cast', [value], { to: 10 }) : value
    graph.output(stored, { name, dtype: spec.dtype, shape: ['N', ...shape] })
  }
}

function buildDecoder(graph: GraphBuilder, { height, width }: DecoderSpec): void {
  const latents = graph.input({ name: 'latents', dtype: 'float32', shape: ['N', CHANNELS, height, width] })
  const grey = graph.op('ReduceMean', [latents, graph.ints([1])], { keepdims: 1 })
  const scaled = graph.op('Mul', [graph.op('Add', [grey, graph.scalar(1)]), graph.scalar(127.5)])
  const bytes = graph.op('Cast', [graph.op('Clip', [scaled, graph.scalar(0), graph.scalar(255)])], { to: 2 })
  const split = graph.op('Reshape', [bytes, graph.ints([-1, height, 1, width, 1, 1])])
  const whole = graph.op('Expand', [split, graph.ints([1, 1, PATCH, 1, PATCH, 3])])
  const size = [height * PATCH, width * PATCH, 3]
  const pixels = graph.op('Reshape', [whole, graph.ints([-1, ...size])])
  graph.output(pixels, { name: 'pixels', dtype: 'uint8', shape: ['N', ...size] })
}

export const toy: Family = {
  name: 'toy',
  title: 'a toy (config.json and toy.safetensors)',
  async claim(candidate) {
    const config = await candidate.readJson('config.json')
    return config?.model_type === 'toy' ? { files: ['config.json', 'toy.safetensors'] } : undefined
  },
  async open(local, { cacheDir }): Promise<ImageModel> {
    const weights = await openWeights(local.folder, 'toy.safetensors')
    const settings = (await local.readJson('config.json'))!
    const digest = await checkpointDigest(settings, weights.files, cacheDir)
    const refuses = (precision: string) => (precision === 'fp32' ? undefined : 'it is a toy')
    const base = { name: local.name, digest, cacheDir, refuses }
    const grid = ({ height, width }: ImageSize) => gridOf({ height, width, patch: PATCH })
    const load = (image: ImageSize) => networkLoad({ weights: 768, activations: 4096, image }, 'fp32')
    return {
      ...base,
      family: 'toy',
      folder: local.folder,
      parameters: { parts: [], total: PATCH * PATCH * 3 * CHANNELS },
      settings,
      imageSize: { height: 32, width: 32 },
      transform: (_, { height, width } = { height: 32, width: 32 }) => `resize(${height},${width},bicubic)`,
      assertSize: () => {},
      depth: 0,
      outputs: (size) => {
        const { h, w } = grid(size)
        return [
          { name: 'latents', dtype: 'float32', shape: [CHANNELS, h, w] },
          { name: 'clip', dtype: 'float32', shape: [CHANNELS] },
        ]
      },
      probed: undefined,
      protocol: {},
      compileEncoder: (spec) =>
        compilePart({
          model: base,
          tower: 'encoder',
          precision: spec.precision,
          spec,
          build: async (graph) => buildEncoder(graph, weights, spec),
        }),
      encoderLoad: load,
      decoder: {
        latentShape: (size) => [CHANNELS, grid(size).h, grid(size).w],
        imageSize: ({ height, width }) => ({ height: height * PATCH, width: width * PATCH }),
        ...HALF,
        rounding: 'truncate',
        compile: (spec) =>
          compilePart({
            model: base,
            tower: 'decoder',
            precision: spec.precision ?? 'fp32',
            spec,
            build: async (graph) => buildDecoder(graph, spec),
          }),
        load: ({ height, width }) => load({ height: height * PATCH, width: width * PATCH }),
      },
      lacks: { text: 'a toy reads no texts' },
      close: () => weights.close(),
    }
  },
}
