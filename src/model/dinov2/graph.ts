/**
 * DINOv2 as a graph: class token, register tokens (without position), patches with resampled positions; blocks with
 * LayerScale, MLP or SwiGLU; the final norm. Reference: facebookresearch/dinov2 b8931f7,
 * dinov2/models/vision_transformer.py.
 */
import type { GraphBuilder } from '../../graph/builder.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { IMAGENET_MEAN, IMAGENET_STD } from '../blocks/constants.js'
import { addImageTower, type ImageTower } from '../blocks/image-tower.js'
import { readBlocks } from '../blocks/layouts.js'
import { emitTokens } from '../blocks/outputs.js'
import { positionsFor } from '../blocks/positions.js'
import { normNamed } from '../blocks/transformer.js'
import type { EncoderSpec } from '../image-model.js'
import type { Dinov2Config } from './config.js'
import { dinov2Names } from './tensors.js'

export function dinov2Tower(config: Dinov2Config, read: ReadTensor): ImageTower {
  const names = dinov2Names(config)
  const { registers, side, shape } = config
  return {
    ...config,
    mean: IMAGENET_MEAN,
    std: IMAGENET_STD,
    patchWeight: () => read(`${names.patch}.weight`),
    patchBias: () => read(`${names.patch}.bias`),
    lead: {
      count: 1 + registers,
      tokens: async () => {
        const [token, positions] = await Promise.all([read(names.cls), read(names.positions)])
        const out = new Float32Array((1 + registers) * shape.dim)
        out.set(token.map((value, i) => value + positions[i]!))
        if (registers > 0) out.set(await read(names.registers), shape.dim)
        return out
      },
    },
    positions: async (grid) => {
      const table = (await read(names.positions)).subarray(shape.dim)
      return positionsFor(table, { h: side, w: side }, grid, config.positions)
    },
    blocks: readBlocks(names.blocks, read, config.depth),
    finalNorm: normNamed(read, names.norm),
  }
}

/** Builds the encoder. Outputs: `cls`, `patches`, `layers`; registers are dropped. */
export async function buildDinov2(
  graph: GraphBuilder,
  config: Dinov2Config,
  read: ReadTensor,
  spec: EncoderSpec,
): Promise<void> {
  const tokens = await addImageTower(graph, dinov2Tower(config, read), spec, () => undefined)
  emitTokens(graph, spec, { ...tokens, dim: config.shape.dim })
}
