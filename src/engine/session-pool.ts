/**
 * Several sessions of one graph behind one `Session`. On a GPU two per device, each in a thread of its own, so that
 * a batch is copied while another is computed: a run goes to the session with the fewest waiting. On a CPU as
 * many as the cores and the memory take, and each run is dealt to all of them (replicas.ts).
 */
import { stat } from 'node:fs/promises'
import type { GraphFile } from '../graph/compile.js'
import { createBatching } from './batching.js'
import { type Device, laneThreads } from './device.js'
import { createReplicas, replicaCount } from './replicas.js'
import { openSession, type Session } from './session.js'

export interface PoolSettings {
  /** The first dimension of every input and output is rows, and no row depends on another. */
  graph: Pick<GraphFile, 'path' | 'weights'>
  /** Providers of every session; on a CPU of all of them together. */
  lanes: readonly (readonly string[])[]
  /** Intra-op threads of every lane; on a CPU its sessions share them. */
  threads: number
  /** Rows of every run on a GPU, and of the largest on a CPU. */
  batchSize: number
  /** Rows below which a run is not dealt out on a CPU: for graphs whose bits are others for fewer. Default 1. */
  leastRows?: number
  onNote?: (line: string) => void
}

export interface NetworkSettings extends Pick<PoolSettings, 'batchSize' | 'leastRows' | 'onNote'> {
  device: Device
  /** One session that takes all threads: it answers a single row soonest, and holds the weights once. Default false. */
  single?: boolean
}

/** Opens a graph whose rows belong together (a step of training) in the first lane of a device. */
export function openLane(graph: Pick<GraphFile, 'path'>, device: Device): Promise<Session> {
  return openSession({ path: graph.path, providers: [...device.lanes[0]!], threads: laneThreads(device) })
}

/** Opens a network's graph on the whole of a device. Throws as `openSession`. */
export async function openNetwork(graph: PoolSettings['graph'], settings: NetworkSettings): Promise<Session> {
  const { device, single, ...rest } = settings
  const threads = laneThreads(device)
  const lanes = single ? device.lanes.slice(0, 1) : device.lanes
  if (single && device.kind === 'cpu') return openSession({ path: graph.path, providers: ['cpu'], threads })
  return openSessions({ graph, lanes, threads, ...rest })
}

/** Opens all sessions, or none. Throws as `openSession`. */
export async function openSessions(settings: PoolSettings): Promise<Session> {
  const { graph, lanes, threads, batchSize, onNote } = settings
  // One after the other: opening reads the weights, and the second finds them in the file cache.
  const sessions: Session[] = []
  try {
    for (const providers of lanes) {
      if (providers[0] === 'cpu') {
        sessions.push(await openReplicas(settings))
        continue
      }
      const session = await openSession({ path: graph.path, providers: [...providers], threads })
      const onSmaller = (rows: number): void =>
        onNote?.(`${providers[0]} is out of memory: batches of ${rows} from now on`)
      sessions.push(createBatching(session, { rows: batchSize, onSmaller }))
    }
  } catch (error) {
    await closeAll(sessions)
    throw error
  }
  return sessions.length === 1 ? sessions[0]! : createPool(sessions)
}

async function openReplicas({ graph, batchSize, threads, leastRows }: PoolSettings): Promise<Session> {
  const { size } = await stat(graph.weights)
  const count = replicaCount({ threads, rows: batchSize, least: leastRows, weightBytes: size })
  const opened = await Promise.allSettled(
    Array.from({ length: count }, () =>
      openSession({ path: graph.path, providers: ['cpu'], threads: threads / count }),
    ),
  )
  const sessions = opened.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const failed = opened.find((result) => result.status === 'rejected')
  if (failed) {
    await closeAll(sessions)
    throw failed.reason
  }
  return sessions.length === 1 ? sessions[0]! : createReplicas(sessions, leastRows)
}

/** Never throws. */
async function closeAll(sessions: Session[]): Promise<void> {
  await Promise.allSettled(sessions.map((session) => session.close()))
}

/** Runs go to the session with the fewest waiting; the first of equals. */
export function createPool(sessions: Session[]): Session {
  const waiting = sessions.map(() => 0)
  return {
    settings: sessions[0]!.settings,
    async run(inputs, fetches) {
      const lane = waiting.indexOf(Math.min(...waiting))
      waiting[lane]!++
      try {
        return await sessions[lane]!.run(inputs, fetches)
      } finally {
        waiting[lane]!--
      }
    },
    close: async () => void (await Promise.all(sessions.map((session) => session.close()))),
  }
}
