/**
 * Several sessions of one graph behind one `Session`: two per GPU, each in a thread of its own, so that a
 * batch is copied while another is computed. A run goes to the session with the fewest runs waiting.
 */
import { createBatching } from './batching.js'
import { openSession, type Session, type SessionSettings } from './session.js'

export interface PoolSettings extends Omit<SessionSettings, 'providers'> {
  /** Providers of every session. */
  lanes: string[][]
  /** Rows of every run on a GPU. */
  batchSize: number
  onNote?: (line: string) => void
}

/** Opens all sessions, or none. Throws as `openSession`. */
export async function openSessions(settings: PoolSettings): Promise<Session> {
  const { lanes, batchSize, onNote, ...rest } = settings
  // One after the other: opening reads the weights, and the second finds them in the file cache.
  const sessions: Session[] = []
  try {
    for (const providers of lanes) {
      const session = await openSession({ ...rest, providers })
      const onSmaller = (rows: number): void =>
        onNote?.(`${providers[0]} is out of memory: batches of ${rows} from now on`)
      sessions.push(providers[0] === 'cpu' ? session : createBatching(session, { rows: batchSize, onSmaller }))
    }
  } catch (error) {
    await Promise.allSettled(sessions.map((session) => session.close()))
    throw error
  }
  return sessions.length === 1 ? sessions[0]! : createPool(sessions)
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
