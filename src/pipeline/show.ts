/**
 * `vtp show`: a few images and what a model makes of them, in one picture. A row per image: the original as the
 * model sees it, its reconstruction, the error, and its patch tokens with their first three principal components
 * (of all images together) as red, green and blue, as DINOv2's figures show them. Columns for which the model lacks
 * a part are left out.
 */
import type { Device } from '../engine/device.js'
import { openImageDecoder } from '../engine/image-decoder.js'
import { openImageEncoder } from '../engine/image-encoder.js'
import { heatMap } from '../image/heat-map.js'
import { resizePillow } from '../image/resize.js'
import { principalScores } from '../math/principal.js'
import { type ImageModel, openModel } from '../model/index.js'
import type { Reject, RgbImage } from '../types.js'
import { splitImages } from './decode-images.js'
import { decodeFewImages, encodeFewImages, type FewImages, type FoundBesides, readFewImages } from './few-images.js'
import { planTransform } from './ledger/plan-request.js'
import { assertPictureName, writeSheet } from './pictures.js'

export interface ShowRequest {
  /** Any SOURCE; the first `limit` images are shown. */
  source: string
  /** A PNG or JPEG file. */
  out: string
  model: string
  cacheDir?: string
  device: Device
  limit: number
  transform?: string
  imageSize?: { height: number; width: number }
  stdin?: AsyncIterable<Uint8Array>
  stop?: AbortSignal
  onNote?: (line: string) => void
  onReject?: (reject: Reject) => void
}

export type ShowColumn = 'original' | 'reconstruction' | 'error' | 'patches'

export interface ShowResult extends FoundBesides {
  images: number
  /** From left to right. */
  columns: ShowColumn[]
  /** Why a column is missing. */
  missing: Partial<Record<ShowColumn, string>>
  out: string
  seconds: number
}

/** Differences of so many levels are white. */
export const SHOWN_ERROR = 64

/** Draws the sheet. Throws usage error `no_images` where there is nothing to show. */
export async function showImages(request: ShowRequest): Promise<ShowResult> {
  const began = performance.now()
  assertPictureName(request.out)
  const model = await openModel(request.model, { cacheDir: request.cacheDir })
  try {
    const size = planTransform(request, model, true)
    const { pixels, besides } = await readFewImages({ ...request, cores: 1 }, size.spec)
    const { columns, missing } = await drawColumns(model, request, pixels)
    const shown = (['original', 'reconstruction', 'error', 'patches'] as const).filter((name) => columns[name])
    const cells = columns.original.flatMap((_, i) => shown.map((name) => columns[name]![i]!))
    await writeSheet(request.out, cells, shown.length)
    const seconds = (performance.now() - began) / 1000
    return { images: pixels.count, ...besides, columns: shown, missing, out: request.out, seconds }
  } finally {
    await model.close()
  }
}

type Columns = { original: RgbImage[] } & Partial<Record<ShowColumn, RgbImage[]>>

async function drawColumns(
  model: ImageModel,
  { device, stop, onNote }: ShowRequest,
  pixels: FewImages,
): Promise<{ columns: Columns; missing: ShowResult['missing'] }> {
  const { count: images, height, width } = pixels
  const size = { height, width }
  const columns: Columns = { original: splitImages(pixels.data, size) }
  const names = model.outputs(size).map(({ name }) => name)
  const missing: ShowResult['missing'] = {}
  const hasDecoder = model.decoder !== undefined && names.includes('latents')
  if (!hasDecoder) missing.reconstruction = missing.error = model.lacks.decoder ?? 'the model has no pixel decoder'
  if (!names.includes('patches')) missing.patches = model.lacks.patches ?? 'the model has no patch tokens'
  const outputs = [...(hasDecoder ? ['latents' as const] : []), ...(missing.patches ? [] : ['patches' as const])]
  if (outputs.length === 0) return { columns, missing }
  const encoder = await openImageEncoder(model, { device, size, outputs, images, onNote })
  try {
    const { latents, patches } = await encodeFewImages(encoder, pixels, stop)
    if (patches) columns.patches = drawPatches(patches, encoder.shapes.get('patches')!, columns.original)
    if (latents) {
      const [, h = 0, w = 0] = encoder.shapes.get('latents')!
      const decoderOptions = { device, grid: { height: h, width: w }, images, onNote }
      const decoder = await openImageDecoder(model, 'pixels', decoderOptions)
      try {
        columns.reconstruction = splitImages(await decodeFewImages(decoder, latents, images, stop), decoder.size)
      } finally {
        await decoder.close()
      }
      columns.error = columns.reconstruction.map((image, i) => heatMap(columns.original[i]!, image, SHOWN_ERROR))
    }
  } finally {
    await encoder.close()
  }
  return { columns, missing }
}

/** Patch tokens [images, N, D] as colours, one square per patch. */
function drawPatches(patches: Float32Array, [count = 0, dim = 0]: number[], originals: RgbImage[]): RgbImage[] {
  const { height, width } = originals[0]!
  // Patches are square, or as near to it as the image is.
  const down = Math.round(Math.sqrt((count * height) / width))
  const across = count / down
  const scores = principalScores(patches, dim, 3)
  const colours = new Uint8Array(scores.length)
  for (let c = 0; c < 3; c++) {
    const sorted = scores.filter((_, i) => i % 3 === c).sort()
    // A few far values must not make the rest grey.
    const [low, high] = [0.02, 0.98].map((share) => sorted[Math.floor(share * (sorted.length - 1))]!) as [
      number,
      number,
    ]
    const range = high - low || 1
    for (let i = c; i < scores.length; i += 3) {
      colours[i] = Math.round(255 * Math.min(1, Math.max(0, (scores[i]! - low) / range)))
    }
  }
  return originals.map((_, i) => {
    const data = colours.subarray(i * count * 3, (i + 1) * count * 3)
    return resizePillow({ data, height: down, width: across }, width, height, 'box')
  })
}
