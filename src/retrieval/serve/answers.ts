/** What the server's API answers, as docs/retrieval.md describes it. */
import type { HitJson } from '../hits.js'
import type { LatencySummary } from './latency.js'

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

/** Rows that no query has put in an order; they have no score. */
export interface SampleAnswer {
  results: (Omit<HitJson, 'score'> & { score: null })[]
  offset: number
  more: boolean
}

export interface Api {
  readonly version: string
  info(): Promise<Info>
  /** Embeds an uploaded image; returns the id under which searches find it. */
  upload(bytes: Uint8Array): Promise<{ image: string }>
  search(parameters: Record<string, unknown>): Promise<SearchAnswer>
  /** Rows from all over the index, the same ones every time. */
  sample(parameters: Record<string, unknown>): Promise<SampleAnswer>
  /** The results of a search, or of the sample where nothing is searched for, as CSV. */
  csv(parameters: Record<string, unknown>): Promise<string>
  row(id: number): Promise<HitJson>
}
