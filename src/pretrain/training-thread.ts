/** How a thread that trains is opened, whichever stage it serves. */
import { openThread, type Thread } from '../async/thread.js'
import { workerUrl } from '../async/worker-url.js'
import { VtpError } from '../errors.js'

/** Resolves when its state is there. Throws VtpErrors `engine_open_failed`, and those of the start. */
export async function openTrainingThread<Request, Reply, Data>(
  worker: `${string}-worker`,
  data: Data,
): Promise<Thread<Request, Reply>> {
  const thread = openThread<Request, Reply, Data>(workerUrl(worker), {
    data,
    failed: (why) => new VtpError(`The training thread failed: ${why}`, { code: 'engine_run_failed' }),
    uninterruptible: true,
  })
  try {
    await thread.ready
    return thread
  } catch (error) {
    await thread.terminate()
    throw error
  }
}
