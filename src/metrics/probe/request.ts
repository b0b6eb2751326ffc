import type { Device } from '../../engine/device.js'
import type { ListingFacts } from '../../io/sources/listing-report.js'
import type { Precision } from '../../model/index.js'
import type { RejectCounts } from '../../pipeline/ledger/rejects.js'
import type { SetRequest } from '../pass/request.js'
import type { RidgeResult } from './closed-form.js'

/** What a probe is trained on, and how. */
export interface ProbeRequest extends SetRequest {
  /** Sources of images, or folders of shards with features when `stored` is set. */
  train: string
  val: string
  stored: boolean
  model: string
  cacheDir: string
  epochs: number
  epochLength: number
  /** Numbers of last blocks that heads read, and whether they also read the mean of the patches; default: the script's. */
  blocks?: number[]
  avgpool?: boolean[]
  rates: number[]
  distinct: boolean
  seed: number
  /** Neighbours of the k-NN classifier; with stored features only. */
  neighbours: number
  precision: Precision
  device: Device
  out?: string
  onProgress?: (done: number, total: number, rejects: number) => void
}

export interface ProbeResult extends ListingFacts {
  /** Best accuracy over epochs and heads, percent. */
  top1: number
  bestHead: string
  /** Accuracies of the last epoch, percent, by head. */
  accuracies: Record<string, number>
  /** The same after every epoch. */
  epochs: Record<string, number>[]
  losses: number[]
  /** With stored features. */
  knn?: number
  ridge?: RidgeResult
  /** Images of the training set, and those of the validation set that could be read. */
  images: { train: number; val: number }
  /** Readings of images (a training image is read again in every epoch), and those of them that failed. */
  readings: number
  rejects: number
  rejectsByCode: RejectCounts
  classes: number
  model: string | null
  protocol: string
  interrupted: boolean
}
