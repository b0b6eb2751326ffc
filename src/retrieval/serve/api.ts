/** The server's API, as docs/retrieval.md describes it. */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { errorText, VtpError } from '../../errors.js'
import { RejectError } from '../../types.js'
import { combineQueries, type Embedder } from '../embedder.js'
import { type RowFilter, resolveLabels } from '../filters.js'
import { describeHits, type HitJson } from '../hits.js'
import type { OpenIndex } from '../open-index.js'
import { createRecent } from '../recent.js'
import { HttpError } from './http.js'
import { createLatency, type LatencySummary } from './latency.js'

/** How far one can page. */
const MAX_RESULTS = 2000
/** Uploaded queries that are remembered; later pages ask for them by their id. */
const UPLOADS = 200
/** Embedded texts that are remembered: every page of results asks for its text again. */
const TEXTS = 1000
/** Rows that are looked at for captions. */
const CAPTION_ROWS = 4096
const MAX_PIXELS = 50_000_000

/** A whole number, also as the text of an address. */
const count = (min: number, max: number) =>
  z
    .union([
      z.number(),
      z
        .string()
        .regex(/^-?\d+$/, 'is not a whole number')
        .transform(Number),
    ])
    .pipe(z.int().min(min).max(max))
const size = count(0, 1_000_000).optional()

const searchSchema = z.strictObject({
  q: z.string().max(1000).optional(),
  image: z
    .string()
    .regex(/^[0-9a-f]{16}$/)
    .optional(),
  row: count(0, 2 ** 32).optional(),
  /** Weights of text, image and row. */
  weights: z
    .string()
    .regex(/^-?\d*\.?\d+(,-?\d*\.?\d+){0,2}$/)
    .optional(),
  k: count(1, 200).default(24),
  offset: count(0, MAX_RESULTS).default(0),
  label: z.string().max(200).optional(),
  caption: z.string().max(200).optional(),
  minWidth: size,
  maxWidth: size,
  minHeight: size,
  maxHeight: size,
})

export interface Info {
  /** Changes with the index; part of the thumbnails' addresses. */
  version: string
  rows: number
  dim: number
  kind: string
  model: string | null
  classes: string[] | null
  captions: boolean
  latency: LatencySummary
}

export interface SearchAnswer {
  results: HitJson[]
  offset: number
  /** Whether there may be more after these. */
  more: boolean
  /** Of this search: embedding the query, and comparing. */
  milliseconds: number
  latency: LatencySummary
}

export interface Api {
  readonly version: string
  info(): Promise<Info>
  /** Embeds an uploaded image; returns the id under which searches find it. */
  upload(bytes: Uint8Array): Promise<{ image: string }>
  search(parameters: Record<string, unknown>): Promise<SearchAnswer>
  row(id: number): Promise<HitJson>
}

/** Whether any of some rows from all over the index has a caption. */
async function hasCaptions({ manifest, reader }: OpenIndex): Promise<boolean> {
  const step = Math.max(1, manifest.rows / CAPTION_ROWS)
  for (let from = 0; from < manifest.rows; from += step * 256) {
    const end = Math.min(manifest.rows, from + step * 256)
    const ids: number[] = []
    for (let at = from; at < end; at += step) ids.push(Math.floor(at))
    if ((await reader.rows(ids)).some((row) => row.caption !== null)) return true
  }
  return false
}

export function createApi(index: OpenIndex, embedder: Embedder): Api {
  const { manifest, reader } = index
  const latency = createLatency()
  const version = createHash('sha256').update(JSON.stringify(manifest)).digest('hex').slice(0, 12)
  const uploads = createRecent<string, Float32Array>(UPLOADS)
  const texts = createRecent<string, Promise<Float32Array>>(TEXTS)
  let captions: Promise<boolean> | undefined

  const checkRow = (row: number): number => {
    if (!Number.isInteger(row) || row < 0 || row >= manifest.rows)
      throw new HttpError(404, 'no_row', 'There is no such image.')
    return row
  }
  const textVector = (text: string): Promise<Float32Array> => {
    let found = texts.get(text)
    if (!found) {
      found = embedder.texts([text])
      found.catch(() => texts.delete(text))
      texts.set(text, found)
    }
    return found
  }
  /** The query's unit vector, and how many rows of the best are the query itself. */
  const queryVector = async (query: z.infer<typeof searchSchema>): Promise<Float32Array> => {
    const parts: Float32Array[] = []
    const weights: number[] = []
    const given = (query.weights ?? '').split(',').filter(Boolean).map(Number)
    const add = (vector: Float32Array, place: number): void => {
      parts.push(vector)
      weights.push(given[place] ?? 1)
    }
    const text = query.q?.trim()
    if (text) add(await textVector(text), 0)
    if (query.image) {
      const vector = uploads.get(query.image)
      if (!vector) throw new HttpError(410, 'image_forgotten', 'The uploaded image is forgotten: drop it again.')
      add(vector, 1)
    }
    if (query.row !== undefined) add(await reader.vectors([checkRow(query.row)]), 2)
    if (parts.length === 0) throw new HttpError(400, 'no_query', 'Give a text, an image or a row to search for.')
    return combineQueries(parts, weights)
  }
  const filterOf = (query: z.infer<typeof searchSchema>): RowFilter => ({
    labels: query.label ? resolveLabels([query.label], manifest.classes) : undefined,
    caption: query.caption || undefined,
    minWidth: query.minWidth,
    maxWidth: query.maxWidth,
    minHeight: query.minHeight,
    maxHeight: query.maxHeight,
  })
  return {
    version,
    async info() {
      captions ??= hasCaptions(index)
      const { rows, dim, kind, model, classes } = manifest
      const summary = latency.summary()
      return {
        version,
        rows,
        dim,
        kind,
        model: model?.name ?? null,
        classes,
        captions: await captions,
        latency: summary,
      }
    },
    async upload(bytes) {
      let vector: Float32Array
      try {
        vector = await embedder.image(bytes, MAX_PIXELS)
      } catch (error) {
        if (error instanceof RejectError)
          throw new HttpError(422, error.code, `This is not an image that can be read: ${error.message}`)
        throw error
      }
      const image = createHash('sha256').update(bytes).digest('hex').slice(0, 16)
      uploads.set(image, vector)
      return { image }
    },
    async search(parameters) {
      // A form sends what was left empty, too.
      const given = Object.entries(parameters).filter(([, value]) => value !== '' && value !== null)
      const parsed = searchSchema.safeParse(Object.fromEntries(given))
      if (!parsed.success) {
        const [issue] = parsed.error.issues
        throw new HttpError(400, 'bad_parameter', `${issue?.path.join('.') || 'query'}: ${issue?.message}`)
      }
      const query = parsed.data
      const began = performance.now()
      try {
        const vector = await queryVector(query)
        const end = Math.min(query.offset + query.k, MAX_RESULTS)
        const [hits = []] = await index.search(vector, { k: end, filter: filterOf(query) })
        const milliseconds = performance.now() - began
        latency.add(milliseconds)
        const page = hits.slice(query.offset, end)
        const results = await describeHits(index, page)
        return {
          results: results.map((hit) => ({ ...hit, rank: hit.rank + query.offset })),
          offset: query.offset,
          more: hits.length === end && end < Math.min(MAX_RESULTS, manifest.rows),
          milliseconds: Number(milliseconds.toFixed(2)),
          latency: latency.summary(),
        }
      } catch (error) {
        if (error instanceof VtpError && error.exitCode === 2) throw new HttpError(400, error.code, errorText(error))
        throw error
      }
    },
    async row(id) {
      const [found] = await describeHits(index, [{ row: checkRow(id), score: 1 }])
      return found!
    },
  }
}
