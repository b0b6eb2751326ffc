/** What a run tells about itself while it goes on: for logs and metrics. Nothing in it decides anything. */
import type { Reject } from '../../types.js'

export type RunEvent =
  | { event: 'unit_started'; unit: number; attempt: number; isolated: boolean }
  | { event: 'reject'; unit: number; reject: Reject }
  | {
      event: 'unit_committed'
      unit: number
      rows: number
      rejects: number
      bytes: number
      /** Seconds of work per stage. */
      seconds: Record<string, number>
      /** False when another worker's commit of the same unit was there first. */
      first: boolean
    }
