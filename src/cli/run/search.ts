/** `vtp search` between its flags and the index. */
import { createReadStream, existsSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { choosePrecision } from '../../engine/choose-device.js'
import { cpuDevice } from '../../engine/device.js'
import { errorText, usageError } from '../../errors.js'
import { isImageName } from '../../io/sources/image-names.js'
import { combineQueries, type Embedder, openIndexEmbedder } from '../../retrieval/embedder.js'
import { resolveLabels } from '../../retrieval/filters.js'
import { describeHits, dropNearDuplicates, type HitJson } from '../../retrieval/hits.js'
import { type OpenIndex, openIndex } from '../../retrieval/open-index.js'
import type { Hit } from '../../retrieval/top-k.js'
import { RejectError } from '../../types.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import { type SEARCH_FLAGS, toFilter } from '../flags/retrieval-flags.js'
import { printable, shortened } from '../terminal/clean.js'
import { formatTable } from '../terminal/format.js'
import type { Terminal } from '../terminal/terminal.js'

export type SearchFlags = FlagValues<typeof SEARCH_FLAGS> & { index: string; queries: string[] }

/** The stable object of `--json`; `results` are those of the only query. */
export interface SearchJson {
  index: string
  kind: string
  rows: number
  k: number
  /** Arithmetic of the model that embedded the queries. */
  precision: string
  /** Seconds of the search itself, without opening index and model. */
  seconds: number
  results?: HitJson[]
  queries: { query: string[]; results: HitJson[] }[]
}

interface Query {
  parts: string[]
  vector: Float32Array
}

export async function runSearchCommand({ terminal }: CommandContext, flags: SearchFlags): Promise<SearchJson> {
  const threshold = flags['dedup-threshold']
  const weights = flags.weights?.split(',').map(Number)
  const count = flags.queries.length + (flags.image?.length ?? 0)
  if (count === 0 && flags['text-file'] === undefined) {
    throw usageError('no_query', 'There is nothing to search for', [
      `vtp search ${flags.index} "a red bus" searches by text, vtp search ${flags.index} photo.jpg by image`,
    ])
  }
  if (count > 0 && flags['text-file'] !== undefined)
    throw usageError('no_query', 'QUERY and --text-file exclude each other', ['leave one of them out'])
  if (weights && (weights.length !== count || weights.some((w) => !Number.isFinite(w)))) {
    throw usageError('bad_weights', `--weights ${flags.weights} does not fit: there are ${count} queries`, [
      'give one number per query, e.g. --weights 1,0.5',
    ])
  }
  const precision = choosePrecision('--precision', flags.precision, 'cpu')
  const device = cpuDevice({ precision })
  const index = await openIndex(flags.index, { threads: device.cores })
  try {
    const filter = toFilter(flags, (names) => resolveLabels(names, index.manifest.classes))
    const embedder = await openIndexEmbedder(index.manifest, {
      model: flags.model,
      device,
      onNote: terminal.note,
    })
    let queries: Query[]
    try {
      queries = await embedQueries(flags, embedder, weights ?? Array.from({ length: count }, () => 1))
    } finally {
      await embedder.close()
    }
    const began = performance.now()
    const all = new Float32Array(queries.length * index.manifest.dim)
    queries.forEach(({ vector }, i) => {
      all.set(vector, i * index.manifest.dim)
    })
    // Near-duplicates leave gaps, which further results fill.
    const k = Math.min(index.manifest.rows, flags.dedup ? flags.k * 5 : flags.k)
    const found = await index.search(all, { k, filter, exact: flags.exact })
    const seconds = Number(((performance.now() - began) / 1000).toFixed(4))
    const results: SearchJson['queries'] = []
    for (const [i, hits] of found.entries())
      results.push({ query: queries[i]!.parts, results: await finishHits(index, hits, flags, threshold) })
    printResults(terminal, results)
    const { kind, rows } = index.manifest
    const only = results.length === 1 ? { results: results[0]!.results } : {}
    return { index: flags.index, kind, rows, k: flags.k, precision, seconds, ...only, queries: results }
  } finally {
    await index.close()
  }
}

async function finishHits(index: OpenIndex, hits: Hit[], flags: SearchFlags, threshold: number): Promise<HitJson[]> {
  const kept = flags.dedup ? await dropNearDuplicates(index, hits, threshold) : hits
  return describeHits(index, kept.slice(0, flags.k))
}

async function embedQueries(flags: SearchFlags, embedder: Embedder, weights: number[]): Promise<Query[]> {
  if (flags['text-file'] !== undefined) {
    const lines = await readLines(flags['text-file'])
    const all = await embedder.texts(lines)
    return lines.map((line, i) => ({
      parts: [line],
      vector: all.slice(i * embedder.dim, (i + 1) * embedder.dim),
    }))
  }
  const vectors: Float32Array[] = []
  for (const query of flags.queries)
    vectors.push((await isImageFile(query)) ? await embedFile(query, embedder) : await embedder.texts([query]))
  for (const file of flags.image ?? []) vectors.push(await embedFile(file, embedder))
  return [{ parts: [...flags.queries, ...(flags.image ?? [])], vector: combineQueries(vectors, weights) }]
}

async function isImageFile(text: string): Promise<boolean> {
  const info = await stat(text).catch(() => undefined)
  if (!info && isImageName(text) && !/\s/.test(text)) {
    throw usageError('image_missing', `There is no image ${text}`, [
      'check the path; a text query has no file extension',
    ])
  }
  return info?.isFile() ?? false
}

async function embedFile(file: string, embedder: Embedder): Promise<Float32Array> {
  try {
    return await embedder.image(await readFile(file))
  } catch (error) {
    const known = error instanceof RejectError || (error as { code?: string }).code !== undefined
    if (!known) throw error
    throw usageError('bad_query_image', `${file} cannot be used as a query: ${errorText(error)}`, [
      'give an image that can be decoded: jpg, png, webp, gif, bmp or tiff',
    ])
  }
}

async function readLines(file: string): Promise<string[]> {
  const lines: string[] = []
  const input = file === '-' ? process.stdin : createReadStream(file)
  try {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY }))
      if (line.trim() !== '') lines.push(line)
  } catch (error) {
    throw usageError('queries_unreadable', `${file} cannot be read: ${errorText(error)}`, ['check the path'])
  }
  if (lines.length === 0) throw usageError('no_query', `${file} has no lines to search for`)
  return lines
}

/** The file that a row's address names: "photo#1.jpg" is one, of "photos.tar#1.jpg" the archive can be opened. */
function fileOf(uri: string): string | undefined {
  if (!uri.startsWith('/')) return undefined
  return existsSync(uri) ? uri : uri.replace(/#[^/]*$/, '')
}

function printResults(terminal: Terminal, all: SearchJson['queries']): void {
  for (const { query, results } of all) {
    if (all.length > 1) terminal.print(['', query.join(' + ')])
    if (results.length === 0) terminal.print(['No row meets the filter.'])
    const captions = results.some((hit) => hit.caption !== null)
    const classes = results.some((hit) => hit.label !== null)
    const rows = results.map((hit) => [
      String(hit.rank),
      hit.score.toFixed(4),
      ...(classes ? [hit.className ?? String(hit.label ?? '')] : []),
      ...(captions ? [shortened(printable((hit.caption ?? '').replace(/\p{Cc}+/gu, ' ').trim()), CAPTION_WIDTH)] : []),
      // Holds the last column's place: what stands before it is as wide in every line.
      '|',
    ])
    for (const [i, line] of formatTable(rows).entries()) {
      const { uri, key, missing } = results[i]!
      terminal.printLink(line.slice(0, -1), uri || key, fileOf(uri), missing ? '  (missing)' : '')
    }
  }
}

const CAPTION_WIDTH = 60
