/**
 * `vtp show`: a few images and what a model makes of them, in one picture. A row per image: the original as the
 * model sees it, its reconstruction, the error, and its patch tokens with their first three principal components
 * (of all images together) as red, green and blue, as DINOv2's figures show them. Columns for which the model lacks
 * a part are left out.
 */
import type { Device } from '../engine/device.js'
import { openImageDecoder } from '../engine/image-decoder.js'
import { openImageEncoder } from '../engine/image-encoder.js'
import { usageError } from '../errors.js'
import { heatMap } from '../image/heat-map.js'
import { openPixelPool } from '../image/pool/pool.js'
import { resizePillow } from '../image/resize.js'
import { openSource } from '../io/sources/index.js'
import { principalScores } from '../math/principal.js'
import { openModel } from '../model/index.js'
import type { Reject, RgbImage } from '../types.js'
import { splitImages } from './decode-images.js'
import { planTransform } from './ledger/plan-request.js'
import { countReject, type RejectCounts, sumCounts } from './ledger/rejects.js'
import { assertPictureName, writeSheet } from './pictures.js'
import { readEntryPixels } from './stream/entry-pixels.js'

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

export interface ShowResult {
  images: number
  rejects: number
  rejectsByCode: RejectCounts
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
  const { device, stop, onNote } = request
  assertPictureName(request.out)
  const model = await openModel(request.model, { cacheDir: request.cacheDir })
  try {
    const size = planTransform(request, model, true)
    const { originals, ...rejected } = await readOriginals(request, size.spec, size)
    const columns: Partial<Record<ShowColumn, RgbImage[]>> = { original: originals }
    const names = model.outputs(size).map(({ name }) => name)
    const missing: ShowResult['missing'] = {}
    const hasDecoder = model.decoder !== undefined && names.includes('latents')
    if (!hasDecoder) missing.reconstruction = missing.error = model.lacks.decoder ?? 'the model has no pixel decoder'
    if (!names.includes('patches')) missing.patches = model.lacks.patches ?? 'the model has no patch tokens'
    const outputs = [...(hasDecoder ? ['latents' as const] : []), ...(missing.patches ? [] : ['patches' as const])]
    if (outputs.length > 0) {
      const encoder = await openImageEncoder(model, { device, size, outputs, images: originals.length, onNote })
      try {
        const made = await encodeAll(encoder, originals, stop)
        if (made.patches) columns.patches = drawPatches(made.patches, encoder.shapes.get('patches')!, originals)
        if (made.latents) {
          const [channels = 0, height = 0, width = 0] = encoder.shapes.get('latents')!
          const decoder = await openImageDecoder(model, 'pixels', {
            device,
            grid: { height, width },
            images: originals.length,
            onNote,
          })
          try {
            const drawn: RgbImage[] = []
            const step = decoder.batchSize
            for (let i = 0; i < originals.length; i += step) {
              stop?.throwIfAborted()
              const count = Math.min(step, originals.length - i)
              const row = channels * height * width
              const pixels = await decoder.decode(made.latents.slice(i * row, (i + count) * row), count)
              drawn.push(...splitImages(pixels, decoder.size))
            }
            columns.reconstruction = drawn
            columns.error = drawn.map((image, i) => heatMap(originals[i]!, image, SHOWN_ERROR))
          } finally {
            await decoder.close()
          }
        }
      } finally {
        await encoder.close()
      }
    }
    const shown = (['original', 'reconstruction', 'error', 'patches'] as const).filter((name) => columns[name])
    const cells = originals.flatMap((_, i) => shown.map((name) => columns[name]![i]!))
    await writeSheet(request.out, cells, shown.length)
    const seconds = (performance.now() - began) / 1000
    return { images: originals.length, ...rejected, columns: shown, missing, out: request.out, seconds }
  } finally {
    await model.close()
  }
}

async function readOriginals(
  request: ShowRequest,
  spec: string,
  { height, width }: { height: number; width: number },
): Promise<{ originals: RgbImage[] } & Pick<ShowResult, 'rejects' | 'rejectsByCode'>> {
  const { stop, limit } = request
  const source = await openSource(request.source, { stdin: request.stdin })
  const pool = openPixelPool(1)
  const originals: RgbImage[] = []
  const rejectsByCode: RejectCounts = {}
  try {
    for await (const entry of source.list(stop)) {
      if (originals.length === limit) break
      const result = await readEntryPixels(source, pool, entry, { views: [{ kind: 'transform', spec }], stop })
      if ('reject' in result) {
        countReject(rejectsByCode, result.reject)
        request.onReject?.(result.reject)
      } else originals.push({ data: result.pictures[0]!.data as Uint8Array, height, width })
    }
  } finally {
    await Promise.allSettled([source.close(), pool.close()])
  }
  if (originals.length === 0) throw usageError('no_images', `${source.uri} holds no image to show`, ['check the path'])
  return { originals, rejects: sumCounts(rejectsByCode), rejectsByCode }
}

/** Outputs of all images, [images, …]. */
async function encodeAll(
  encoder: Awaited<ReturnType<typeof openImageEncoder>>,
  images: RgbImage[],
  stop?: AbortSignal,
): Promise<Record<string, Float32Array>> {
  const bytes = encoder.size.height * encoder.size.width * 3
  const parts = new Map<string, Float32Array[]>()
  for (let i = 0; i < images.length; i += encoder.batchSize) {
    stop?.throwIfAborted()
    const batch = images.slice(i, i + encoder.batchSize)
    const pixels = new Uint8Array(batch.length * bytes)
    for (const [k, { data }] of batch.entries()) pixels.set(data, k * bytes)
    const { tensors } = await encoder.encode(pixels, batch.length)
    for (const [name, data] of Object.entries(tensors)) {
      parts.set(name, [...(parts.get(name) ?? []), data as Float32Array])
    }
  }
  return Object.fromEntries([...parts].map(([name, list]) => [name, joined(list)]))
}

function joined(parts: Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
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
