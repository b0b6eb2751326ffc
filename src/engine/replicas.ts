/**
 * One graph in several sessions on a CPU, each with its share of the cores. The threads of one session wait for
 * each other after every operator; sessions do not, which is worth a tenth to a quarter of the speed
 * (docs/performance.md). A run's rows are dealt to them, so that they all work, however few runs are in flight.
 * The price is memory: each session packs the weights for itself.
 */
import { totalmem } from 'node:os'
import { cgroupLimits } from './cgroup.js'
import { cutRows, joinRows, rowCount } from './rows.js'
import type { Session } from './session.js'

/** Of the memory of this machine or control group, what the weights of all sessions of a graph may take. */
const SHARE = 1 / 8
/** More sessions would take long to open. */
const MOST = 16

export interface ReplicaRequest {
  /** Threads of all sessions together. */
  threads: number
  /** Rows of a run; more sessions than its parts would have nothing to do. */
  rows: number
  /** Rows of a part, at least. Default 1. */
  least?: number
  /** Size of the graph's weights. */
  weightBytes: number
}

/** How many sessions: as many as leave every thread its work and whose weights fit. At least 1. */
export function replicaCount(
  { threads, rows, least = 1, weightBytes }: ReplicaRequest,
  memoryBytes = machineMemory(),
): number {
  const most = Math.min(
    threads,
    Math.floor(rows / least),
    MOST,
    Math.floor((SHARE * memoryBytes) / Math.max(weightBytes, 1)),
  )
  for (let count = most; count > 1; count--) if (threads % count === 0) return count
  return 1
}

function machineMemory(): number {
  return Math.min(totalmem(), cgroupLimits().memoryBytes ?? Number.POSITIVE_INFINITY)
}

/** Deals the rows of every run, `least` or more to each, to the sessions with the fewest runs waiting. */
export function createReplicas(sessions: Session[], least = 1): Session {
  const waiting = sessions.map(() => 0)
  return {
    settings: sessions[0]!.settings,
    async run(inputs, fetches) {
      const total = rowCount(inputs)
      const idlest = [...sessions.keys()]
        .sort((a, b) => waiting[a]! - waiting[b]!)
        .slice(0, Math.max(1, Math.floor(total / least)))
      const parts = await Promise.all(
        idlest.map(async (at, i) => {
          const start = Math.floor((i * total) / idlest.length)
          const count = Math.floor(((i + 1) * total) / idlest.length) - start
          waiting[at]!++
          try {
            return { result: await sessions[at]!.run(cutRows(inputs, start, count, count), fetches), count }
          } finally {
            waiting[at]!--
          }
        }),
      )
      return { outputs: joinRows(parts), seconds: Math.max(...parts.map(({ result }) => result.seconds)) }
    },
    close: async () => void (await Promise.all(sessions.map((session) => session.close()))),
  }
}
