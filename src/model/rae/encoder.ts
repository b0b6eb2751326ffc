/** The encoder of a RAE: the image tower of DINOv2, SigLIP 2 or MAE, whose last norm loses its weight and bias. */
import { missingFile, pickWeights, type Weights } from '../../io/weights.js'
import type { ImageTower } from '../blocks/image-tower.js'
import { withWeights } from '../blocks/with-weights.js'
import { localCandidate } from '../candidate.js'
import { parseDinov2Config } from '../dinov2/config.js'
import { dinov2Tower } from '../dinov2/graph.js'
import { parseMaeConfig } from '../mae/config.js'
import { maeTower } from '../mae/graph.js'
import { parseTransformersConfig } from '../siglip/config.js'
import { siglipImageTower } from '../siglip/graph.js'
import type { EncoderClass } from './config.js'

export interface RaeEncoder {
  tower: ImageTower
  weights: Weights
  /** Everything of its configuration that decides bits. */
  settings: object
}

/** Opens the encoder in a folder of transformers' layout. `size`: what images are brought to. */
export async function openRaeEncoder(kind: EncoderClass, folder: string, size: number): Promise<RaeEncoder> {
  const local = await localCandidate(folder, folder)
  const raw = await local.readJson('config.json')
  const preprocessor = await local.readJson('preprocessor_config.json')
  const file = pickWeights(local.files)
  if (raw === undefined || file === undefined) throw missingFile(folder, 'config.json or model.safetensors')
  const where = `${folder}/config.json`
  const resized = { height: size, width: size }
  const constants = preprocessor as { image_mean?: number[]; image_std?: number[] } | undefined
  const normalise = (tower: ImageTower): ImageTower => ({
    ...tower,
    finalNorm: 'plain',
    resized,
    mean: constants?.image_mean ?? tower.mean,
    std: constants?.image_std ?? tower.std,
  })
  return withWeights(folder, file, {}, async (weights) => {
    const read = weights.readFloat32
    if (kind === 'Dinov2withNorm') {
      const config = parseDinov2Config(raw, where)
      return { tower: normalise(dinov2Tower(config, read)), weights, settings: config }
    }
    if (kind === 'SigLIP2wNorm') {
      const config = parseTransformersConfig(raw, preprocessor, where)
      return { tower: normalise(siglipImageTower(config, read)), weights, settings: config }
    }
    const config = parseMaeConfig(raw, where)
    return { tower: normalise(maeTower(config, read)), weights, settings: config }
  })
}
