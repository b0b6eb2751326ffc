/** What both stages of pre-training are asked for. */
import type { FieldNames } from '../io/sources/options.js'
import type { TrainProgress } from '../train/progress.js'
import type { LookRequest } from './looks.js'

export interface StageRequest extends LookRequest {
  recipe: string
  /** `KEY=VALUE` of the recipe each. */
  settings: readonly string[]
  /** Number of the last step; default: the recipe's. */
  steps?: number
  seed: number
  limit?: number
  fields?: FieldNames
  /** Preprocessing threads. */
  workers: number
  /** Of the engine; they change no bit of the result. */
  threads: number
  overwrite: boolean
  /** Default: the recipe's, else 1000. */
  saveEvery?: number
  keep?: number
  checkpointSeconds?: number
  onNote?: (line: string) => void
  onProgress?: (progress: TrainProgress) => void
}
