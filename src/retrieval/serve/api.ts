/** The server's API, as docs/retrieval.md describes it. */
import { createHash } from 'node:crypto'
import { errorText, VtpError } from '../../errors.js'
import { RejectError } from '../../types.js'
import { combineQueries, type Embedder } from '../embedder.js'
import { type RowFilter, resolveLabels } from '../filters.js'
import { describeHits, dropNearDuplicates, type HitJson } from '../hits.js'
import type { OpenIndex } from '../open-index.js'
import { createRecent } from '../recent.js'
import type { Hit } from '../top-k.js'
import type { Api, SampleAnswer } from './answers.js'
import { resultsCsv } from './csv.js'
import { HttpError } from './http.js'
import { createLatency } from './latency.js'
import { MAX_RESULTS, readParameters, type SearchParameters } from './parameters.js'
import { sampleRows } from './sample.js'

/** Uploaded queries that are remembered; later pages ask for them by their id. */
const UPLOADS = 200
/** Embedded texts that are remembered: every page of results asks for its text again. */
const TEXTS = 1000
/** Rows that are looked at for captions. */
const CAPTION_ROWS = 4096
const MAX_PIXELS = 50_000_000

/** From which cosine similarity on two images are near-duplicates: the default of `vtp dedup`. */
const NEAR = 0.95

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

const isQuery = ({ q, image, row }: SearchParameters): boolean =>
  Boolean(q?.trim()) || image !== undefined || row !== undefined

/** Usage errors are the request's. */
async function asHttp<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof VtpError && error.exitCode === 2) throw new HttpError(400, error.code, errorText(error))
    throw error
  }
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
  const queryVector = async (query: SearchParameters): Promise<Float32Array> => {
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
  const filterOf = (query: SearchParameters): RowFilter => ({
    labels: query.label ? resolveLabels([query.label], manifest.classes) : undefined,
    caption: query.caption || undefined,
    minWidth: query.minWidth,
    maxWidth: query.maxWidth,
    minHeight: query.minHeight,
    maxHeight: query.maxHeight,
  })
  /** The best `end` hits, or rows of the sample where there is no query; without near-duplicates if so asked. */
  const findHits = async (query: SearchParameters, vector: Float32Array | undefined, end: number): Promise<Hit[]> => {
    const filter = filterOf(query)
    const best = async (k: number): Promise<Hit[]> => {
      if (!vector) return (await sampleRows(index, k, filter)).map((row) => ({ row, score: 1 }))
      return (await index.search(vector, { k, filter }))[0] ?? []
    }
    if (!query.dedup) return best(end)
    // Near-duplicates leave gaps, which further results fill.
    for (let k = 2 * end; ; k *= 2) {
      const found = await best(Math.min(k, MAX_RESULTS))
      const kept = await dropNearDuplicates(index, found, NEAR)
      if (kept.length >= end || found.length < k) return kept.slice(0, end)
    }
  }
  const resultsOf = async (query: SearchParameters, vector: Float32Array | undefined) => {
    const end = Math.min(query.offset + query.k, MAX_RESULTS)
    const began = performance.now()
    const hits = await findHits(query, vector, end)
    const milliseconds = performance.now() - began
    const results = await describeHits(index, hits.slice(query.offset, end))
    return {
      milliseconds,
      results: results.map((hit) => ({ ...hit, rank: hit.rank + query.offset })),
      more: hits.length === end && end < Math.min(MAX_RESULTS, manifest.rows),
    }
  }
  const unscored = (hit: HitJson): SampleAnswer['results'][number] => ({ ...hit, score: null })
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
      // Before the bytes go to the thread that reads them, and are gone here.
      const image = createHash('sha256').update(bytes).digest('hex').slice(0, 16)
      let vector: Float32Array
      try {
        vector = await embedder.image(bytes, MAX_PIXELS)
      } catch (error) {
        if (error instanceof RejectError)
          throw new HttpError(422, error.code, `This is not an image that can be read: ${error.message}`)
        throw error
      }
      uploads.set(image, vector)
      return { image }
    },
    search: (parameters) =>
      asHttp(async () => {
        const query = readParameters(parameters, 'page')
        const began = performance.now()
        const vector = await queryVector(query)
        const embedded = performance.now() - began
        const { results, more, milliseconds } = await resultsOf(query, vector)
        latency.add(embedded + milliseconds)
        return {
          results,
          offset: query.offset,
          more,
          milliseconds: Number((embedded + milliseconds).toFixed(2)),
          latency: latency.summary(),
        }
      }),
    sample: (parameters) =>
      asHttp(async () => {
        const query = readParameters(parameters, 'page')
        const { results, more } = await resultsOf(query, undefined)
        return { results: results.map(unscored), offset: query.offset, more }
      }),
    csv: (parameters) =>
      asHttp(async () => {
        const query = readParameters(parameters, 'table')
        const vector = isQuery(query) ? await queryVector(query) : undefined
        const { results } = await resultsOf(query, vector)
        return resultsCsv(vector ? results : results.map(unscored))
      }),
    async row(id) {
      const [found] = await describeHits(index, [{ row: checkRow(id), score: 1 }])
      return found!
    },
  }
}
