/**
 * Counts what a run does and finds its bottleneck: the stage whose workers were busy for the largest
 * share of the time. Snapshots go to whoever shows progress.
 */
import { BusyClock } from '../../async/stages.js'

export type BottleneckStage = 'read' | 'preprocess' | 'encode' | 'write'

export interface ProgressSnapshot {
  /** Images dealt with (rows and rejects), committed ones of earlier runs included. */
  done: number
  total: number | null
  rejects: number
  bytesRead: number
  /** False for runs that read no images. */
  reads?: boolean
  elapsedSeconds: number
  /** Images of this run per second. */
  imagesPerSecond: number
  etaSeconds: number | null
  bottleneck: BottleneckStage | null
  unitsDone: number
  unitsTotal: number
}

/** How many calls of each stage can run at once; a stage is saturated when all of them do. */
export type StageWidths = Record<Exclude<BottleneckStage, 'read'>, number>

export interface Meter {
  readonly clocks: Record<BottleneckStage, BusyClock>
  images: number
  /** Images that pieces of an earlier attempt held: dealt with, but no work of this run. */
  takenUp: number
  rejects: number
  bytesRead: number
  unitsDone: number
  /** How long everything behind the readers had to wait for them. */
  starvedSeconds: number
  snapshot(): ProgressSnapshot
  bottleneck(): BottleneckStage | null
  /** Seconds of work per stage so far. */
  seconds(): Record<BottleneckStage, number>
}

export interface MeterStart {
  total: number
  /** Images and units that earlier runs have committed. */
  doneBefore: number
  unitsBefore: number
  unitsTotal: number
  widths: StageWidths
}

/** Before so long a look at the images nobody knows how long the others will take. */
const SHORTEST_LOOK_MS = 2_000

/**
 * Images per second from the first ones on: until then the model is opened and the graph is compiled, which says
 * nothing about the images to come. Undefined where it is too early to say.
 */
export function createPace(): { of(images: number, nowMs: number): number | undefined } {
  let first: { images: number; at: number } | undefined
  return {
    of(images, nowMs) {
      if (images === 0) return undefined
      first ??= { images, at: nowMs }
      const lookedMs = nowMs - first.at
      if (lookedMs < SHORTEST_LOOK_MS || images === first.images) return undefined
      return ((images - first.images) / lookedMs) * 1000
    },
  }
}

export function createMeter(start: MeterStart): Meter {
  const began = performance.now()
  const pace = createPace()
  const clocks = { read: new BusyClock(), preprocess: new BusyClock(), encode: new BusyClock(), write: new BusyClock() }
  const meter: Meter = {
    clocks,
    images: 0,
    takenUp: 0,
    rejects: 0,
    bytesRead: 0,
    unitsDone: start.unitsBefore,
    starvedSeconds: 0,
    seconds: () => ({
      read: clocks.read.workSeconds,
      preprocess: clocks.preprocess.workSeconds,
      encode: clocks.encode.workSeconds,
      write: clocks.write.workSeconds,
    }),
    bottleneck() {
      const elapsed = (performance.now() - began) / 1000
      if (meter.images === 0 || elapsed === 0) return null
      let best: BottleneckStage = 'encode'
      let bestShare = -1
      for (const stage of ['encode', 'preprocess', 'write', 'read'] as const) {
        // Reads are many and cheap; they hold the run up as far as the others wait for them.
        const share =
          stage === 'read'
            ? meter.starvedSeconds / elapsed
            : clocks[stage].workSeconds / (elapsed * start.widths[stage])
        if (share > bestShare * 1.02) [best, bestShare] = [stage, share]
      }
      return best
    },
    snapshot() {
      const now = performance.now()
      const elapsedSeconds = (now - began) / 1000
      const steady = pace.of(meter.images, now)
      const imagesPerSecond = steady ?? meter.images / Math.max(elapsedSeconds, 1e-3)
      const done = start.doneBefore + meter.takenUp + meter.images
      return {
        done,
        total: start.total,
        rejects: meter.rejects,
        bytesRead: meter.bytesRead,
        elapsedSeconds,
        imagesPerSecond,
        etaSeconds: steady === undefined ? null : (start.total - done) / steady,
        bottleneck: meter.bottleneck(),
        unitsDone: meter.unitsDone,
        unitsTotal: start.unitsTotal,
      }
    },
  }
  return meter
}
