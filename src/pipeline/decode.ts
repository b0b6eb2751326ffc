/**
 * `vtp decode`: latents → PNG through the pixel decoder, or one image → its reconstruction. Pixels are
 * truncated to 8 bits as the reference does: (clamp(x, 0, 1) · 255) cut off, not rounded.
 */
import { readFile, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { mapOrdered } from '../async/stages.js'
import type { Session } from '../engine/session.js'
import { openSessions } from '../engine/session-pool.js'
import { usageError, VtpError } from '../errors.js'
import { sideBySide } from '../image/montage.js'
import { encodePng } from '../image/png.js'
import { onePicture, openPixelPool } from '../image/pool/pool.js'
import { writeAtomically } from '../io/atomic.js'
import { findShards, openShard } from '../io/shards/index.js'
import { DEFAULT_MAX_BYTES } from '../io/sources/read-file.js'
import { uriScheme } from '../io/store.js'
import { float16ToFloat32 } from '../math/half.js'
import { compileDecoder, compileEncoder, type Model, openModel, type Precision } from '../model/index.js'
import { RejectError, type RgbImage, type TensorData } from '../types.js'
import { planTransform } from './ledger/plan-request.js'

export interface DecodeRequest {
  /** A shard, a folder of shards, or one image. */
  input: string
  /** A folder; for one image also a file name ending in .png. */
  out: string
  /** Undefined: the model that the shards name, or the bundled one. */
  model: string
  cacheDir?: string
  batchSize: number
  threads: number
  providers: string[]
  /** Arithmetic of the model; default fp32. */
  precision?: Precision
  /** For one image: original and reconstruction in one picture. */
  sideBySide: boolean
  transform?: string
  imageSize?: { height: number; width: number }
  /** Decode at most this many rows. */
  limit?: number
  /** Decode latents of another model than the one given. */
  anyModel: boolean
  stop?: AbortSignal
  onProgress?: (done: number, total: number) => void
}

export interface DecodeResult {
  images: number
  out: string
  seconds: number
  interrupted: boolean
}

const IMAGE_EXTENSION = /\.(jpe?g|jpe|png|webp|gif|bmp|tiff?)$/i

/** Decodes shards, or one image, to PNG files. */
export async function runDecode(request: DecodeRequest): Promise<DecodeResult> {
  const began = performance.now()
  const remote = uriScheme(request.input) === 's3'
  const info = remote ? undefined : await stat(request.input).catch(() => undefined)
  if (!remote && !info) {
    throw usageError('input_missing', `${request.input} does not exist`, [
      'give a shard, a folder of shards, or one image',
    ])
  }
  const model = await openModel(request.model, { cacheDir: request.cacheDir })
  if (!model.config.train_reconstruction) {
    throw usageError('no_decoder', `The model ${model.name} has no pixel decoder (train_reconstruction is false)`)
  }
  const single = (remote || info!.isFile()) && IMAGE_EXTENSION.test(request.input)
  const result = single ? await decodeOneImage(model, request) : await decodeShards(model, request)
  return { ...result, seconds: (performance.now() - began) / 1000 }
}

async function readImage(input: string): Promise<Uint8Array> {
  if (uriScheme(input) !== 's3') return readFile(input)
  const { readObjectBytes } = await import('../io/sources/read-object.js')
  return readObjectBytes(input, undefined, undefined, { maxBytes: DEFAULT_MAX_BYTES })
}

async function openDecoder(model: Model, request: DecodeRequest, height: number, width: number): Promise<Session> {
  const { precision, cacheDir, providers, threads } = request
  const graph = await compileDecoder(model, { height, width, precision }, { cacheDir })
  return openSessions({ graph, lanes: [providers], threads, batchSize: request.batchSize })
}

/** uint8 [N,H,W,3] → N images. */
export function splitImages(data: TensorData, dims: number[]): RgbImage[] {
  const [count = 0, height = 0, width = 0] = dims
  const size = height * width * 3
  return Array.from({ length: count }, (_, i) => ({
    data: (data as Uint8Array).subarray(i * size, (i + 1) * size),
    height,
    width,
  }))
}

async function writePng(file: string, image: RgbImage): Promise<void> {
  const png = await encodePng(image)
  await writeAtomically(file, (tmp) => writeFile(tmp, png))
}

async function decodeOneImage(model: Model, request: DecodeRequest): Promise<Omit<DecodeResult, 'seconds'>> {
  const transform = planTransform(request, model, true)
  const { height, width } = transform
  let original: RgbImage
  const pool = openPixelPool(1)
  try {
    const view = { kind: 'transform', spec: transform.spec } as const
    const { data } = await onePicture(pool, await readImage(request.input), view)
    original = { data: data as Uint8Array, height, width }
  } catch (error) {
    if (!(error instanceof RejectError)) throw error
    throw new VtpError(`${request.input} cannot be decoded: ${error.message} (${error.code})`, { code: error.code })
  } finally {
    await pool.close()
  }
  const graph = await compileEncoder(
    model,
    { height, width, outputs: ['latents'], dtype: 'float32', precision: request.precision ?? 'fp32', device: 'cpu' },
    { cacheDir: request.cacheDir },
  )
  const encoder = await openSessions({
    graph,
    lanes: [request.providers],
    threads: request.threads,
    batchSize: 1,
  })
  const pixels = { data: original.data, dtype: 'uint8', dims: [1, height, width, 3] }
  const { outputs } = await encoder.run({ pixels: { ...pixels, data: original.data.slice() } }, ['latents'])
  await encoder.close()
  const latents = outputs.latents!
  const decoder = await openDecoder(model, request, latents.dims[2]!, latents.dims[3]!)
  const decoded = await decoder.run({ latents }, ['pixels'])
  await decoder.close()
  const { data, dims } = decoded.outputs.pixels!
  const reconstruction = splitImages(data as Uint8Array, dims)[0]!
  const name = path.basename(request.input).replace(IMAGE_EXTENSION, '.png')
  const file = /\.png$/i.test(request.out) ? request.out : path.join(request.out, name)
  if (path.resolve(file) === path.resolve(request.input)) {
    throw usageError('would_overwrite', `The reconstruction would overwrite ${request.input}`, ['choose another --out'])
  }
  await writePng(file, request.sideBySide ? sideBySide([original, reconstruction]) : reconstruction)
  return { images: 1, out: file, interrupted: false }
}

/** File names for keys: the key with its image extension replaced, never outside the folder, never twice. */
export function createPngNames(): (key: string) => string {
  const used = new Set<string>()
  return (key) => {
    const parts = key
      .split(/[/\\]/)
      .map((part) => (part === '' || part === '.' || part === '..' ? '_' : part.replaceAll('\0', '_')))
    let name = parts.join('/').replace(IMAGE_EXTENSION, '')
    // Two keys that differ only in their extension: the second keeps it.
    if (used.has(name)) name = parts.join('/')
    while (used.has(name)) name += '_'
    used.add(name)
    return `${name}.png`
  }
}

async function decodeShards(model: Model, request: DecodeRequest): Promise<Omit<DecodeResult, 'seconds'>> {
  if (request.sideBySide) {
    throw usageError('side_by_side_needs_image', '--side-by-side needs one image as input; shards hold no originals', [
      'run `vtp decode photo.jpg --out . --side-by-side`',
    ])
  }
  const files = await findShards(request.input)
  const names = createPngNames()
  const sessions = new Map<string, Session>()
  let images = 0
  try {
    for (const file of files) {
      const shard = await openShard(file)
      try {
        const column = shard.columns.find((c) => c.name === 'latents')
        if (!column) {
          throw usageError(
            'no_latents',
            `${file} has no column "latents" (it has ${shard.columns.map((c) => c.name).join(', ')})`,
            ['encode with --outputs latents'],
          )
        }
        const made = shard.provenance['vtp.model_digest']
        if (made && made !== model.digest && !request.anyModel) {
          throw usageError(
            'other_model',
            `${file} was made by the model ${shard.provenance['vtp.model']}, not by ${model.name}`,
            ['give that model with --model', 'pass --any-model to decode with this one all the same'],
          )
        }
        const [channels = 0, height = 0, width = 0] = column.shape
        const key = `${height}x${width}`
        let session = sessions.get(key)
        if (!session) {
          session = await openDecoder(model, request, height, width)
          sessions.set(key, session)
        }
        const decoder = session
        const rowSize = channels * height * width
        async function* batches() {
          for await (const { rows, tensors } of shard.read(['latents'], request.batchSize)) {
            const data = tensors.latents!
            const keep = Math.min(rows.length, (request.limit ?? Number.POSITIVE_INFINITY) - images)
            if (keep <= 0 || request.stop?.aborted) return
            images += keep
            yield { rows: rows.slice(0, keep), data: data.subarray(0, keep * rowSize) }
          }
        }
        const decodeBatch = async ({ rows, data }: { rows: { key: string }[]; data: TensorData }): Promise<number> => {
          const floats = data instanceof Uint16Array ? float16ToFloat32(data) : Float32Array.from(data)
          const input = { data: floats, dtype: 'float32', dims: [rows.length, channels, height, width] }
          const { outputs } = await decoder.run({ latents: input }, ['pixels'])
          const { data: pixels, dims } = outputs.pixels!
          const pngs = splitImages(pixels as Uint8Array, dims)
          await Promise.all(pngs.map((image, i) => writePng(path.join(request.out, names(rows[i]!.key)), image)))
          return rows.length
        }
        let done = images
        for await (const count of mapOrdered(batches(), 3, decodeBatch)) {
          done += count
          request.onProgress?.(done, request.limit ?? shard.rows)
        }
      } finally {
        await shard.close()
      }
      if (request.stop?.aborted) break
    }
  } finally {
    await Promise.allSettled([...sessions.values()].map((session) => session.close()))
  }
  return { images, out: request.out, interrupted: request.stop?.aborted ?? false }
}
