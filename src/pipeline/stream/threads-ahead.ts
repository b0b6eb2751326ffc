/** Threads that a run is going to need, started before its plan is made: they load their code on the other cores. */
import { endThreadsAhead } from '../../async/thread.js'
import { startSessionAhead } from '../../engine/session.js'
import { startPixelsAhead } from '../../image/pool/pool.js'

/** Runs with a session's thread on its way, and one for pixels where there are `images` to decode. */
export async function withThreadsAhead<T>({ images }: { images: boolean }, run: () => Promise<T>): Promise<T> {
  startSessionAhead()
  if (images) startPixelsAhead()
  try {
    return await run()
  } finally {
    await endThreadsAhead()
  }
}
