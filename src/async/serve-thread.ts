/** The worker's side of thread.ts: answers the owner's calls, one after the other unless they may run at once. */
import { MessageChannel, parentPort, workerData } from 'node:worker_threads'
import { errorText, VtpError } from '../errors.js'
import type { ThreadAnswer, ThreadData, ThreadMessage } from './thread.js'
import { transferable } from './transferable.js'

export interface Answer<Reply> {
  reply: Reply
  /** Buffers that go over whole, where they can. */
  transfer?: readonly ArrayBuffer[]
}

export interface Service<Request, Reply> {
  /** Done before the first call; when it fails, the thread does. */
  start?(): Promise<void>
  handle(request: Request): Promise<Answer<Reply>> | Answer<Reply>
  /** Calls begin as they come instead of in turn. */
  atOnce?: boolean
  /** Done when all calls are answered. */
  close?(): Promise<void>
}

/** What the owner gave this thread. */
export function threadData<Data>(): Data {
  return (workerData as ThreadData<Data>).data
}

// What is sent to a port without a partner is freed at once; collection would leave a hundred megabytes lying.
const { port1: nowhere, port2 } = new MessageChannel()
port2.close()
nowhere.unref()

/** Frees buffers that nothing refers to any more, where they can be freed. */
export function freeBuffers(buffers: readonly ArrayBufferLike[]): void {
  nowhere.postMessage(undefined, transferable(buffers))
}

export function serveThread<Request, Reply>(service: Service<Request, Reply>): void {
  const port = parentPort!
  const { halt } = workerData as ThreadData<unknown>
  const post = (answer: ThreadAnswer<Reply | undefined>, transfer: readonly ArrayBuffer[] = []): void =>
    port.postMessage(answer, transferable(transfer))
  const fail = (id: number, error: unknown): void => {
    const known = error instanceof VtpError ? error : undefined
    const { code, exitCode, suggestions } = known ?? {}
    post({ id, error: { message: errorText(error), code, exitCode, suggestions } })
  }
  const answer = async (id: number, request: Request): Promise<void> => {
    if (Atomics.load(halt, 0) === 1) return
    const began = performance.now()
    try {
      const { reply, transfer } = await service.handle(request)
      post({ id, reply, seconds: (performance.now() - began) / 1000 }, transfer)
    } catch (error) {
      fail(id, error)
    }
  }

  let last: Promise<unknown> = (async () => service.start?.())().then(
    () => post({ id: 0, reply: undefined, seconds: 0 }),
    (error: unknown) => {
      fail(0, error)
      port.close()
    },
  )
  port.on('message', (message: ThreadMessage<Request>) => {
    if (message === 'close') {
      void last.then(async () => {
        await service.close?.()
        port.close()
      })
    } else if (service.atOnce) {
      last = Promise.all([last, answer(message.id, message.request)])
    } else last = last.then(() => answer(message.id, message.request))
  })
}
