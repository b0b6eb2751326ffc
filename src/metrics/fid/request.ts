/** What a comparison of two sets is asked for, and what it answers. */
import type { ListingFacts } from '../../io/sources/listing-report.js'
import type { FidDims, FidFlavour } from '../../model/networks.js'
import type { Reject } from '../../types.js'
import type { NetworkOptions } from '../networks/open.js'
import type { SetRequest } from '../pass/request.js'

export const FID_METRICS = ['fid', 'sfid', 'kid', 'is', 'prec'] as const
export type FidMetric = (typeof FID_METRICS)[number]

export interface CompareRequest extends SetRequest {
  /** The reference. */
  a: string
  /** What is judged; may be absent when only A's statistics are wanted. */
  b?: string
  metrics: FidMetric[]
  flavour: FidFlavour
  dims: FidDims
  /** Write A's statistics here. */
  saveStats?: string
  network: Omit<NetworkOptions, 'batchSize'>
  seed: number
  kid: { subsets: number; subsetSize: number }
  neighbour: number
  prImages: number
  /** The images of A or B as lines of a list, where the name alone would not lead to them. */
  lists?: ReadonlyMap<string, () => AsyncIterable<Uint8Array>>
  /** Images of the set that is being read, of how many. */
  onImages?: (done: number, total: number | null, rejects: number) => void
}

export interface CompareResult extends ListingFacts {
  fid?: number
  sfid?: number
  kid?: number
  kidStd?: number
  inceptionScore?: number
  inceptionScoreStd?: number
  precision?: number
  recall?: number
  /** Images of A and B; null for statistics from a file that does not say. */
  images: (number | null)[]
  rejects: Reject[]
  protocol: string
  interrupted: boolean
}

/** What a metric was really computed with. */
export interface Measured {
  numbers: Partial<CompareResult>
  kidSubset?: number
  isSplits?: string
}
