/**
 * A worker thread that answers calls, seen from its owner; serve-thread.ts is the other side. Calls may be posted
 * ahead and are answered by promises. A thread that dies rejects what waits for it and what comes after; `close`
 * lets it answer first. Errors keep their code and their suggestions on the way.
 */
import { Worker } from 'node:worker_threads'
import { type ExitCode, errorText, VtpError } from '../errors.js'
import { transferable } from './transferable.js'
import { SMALL_HEAP } from './worker-url.js'

/** What a worker is started with. `halt[0]` = 1 tells it to begin no further call. */
export interface ThreadData<Data> {
  data: Data
  halt: Int32Array
}

/** To a worker: a call, or the wish that it ends when all calls are answered. */
export type ThreadMessage<Request> = { id: number; request: Request } | 'close'

/** From a worker: the answer to a call. That to call 0, which nobody makes, says whether it has started. */
export type ThreadAnswer<Reply> =
  | { id: number; reply: Reply; seconds: number }
  | { id: number; error: { message: string; code?: string; exitCode?: ExitCode; suggestions?: string[] } }

export interface Thread<Request, Reply> {
  /** Resolves when the worker has started. */
  readonly ready: Promise<void>
  /** Calls that are not answered yet. */
  readonly waiting: number
  /** Seconds that the worker has worked. */
  readonly workSeconds: number
  /** Buffers in `transfer` go over whole and are empty afterwards. */
  call(request: Request, transfer?: readonly ArrayBuffer[]): Promise<Reply>
  /** Lets the worker answer what it was asked, then ends it. */
  close(): Promise<void>
  /** Ends it at once. */
  terminate(): Promise<void>
}

export interface ThreadOptions<Data> {
  data: Data
  /** The error of a call from the worker's words, or from how it died. */
  failed(why: string): Error
  /** Called when the thread has died unasked, after its calls were rejected. */
  onDeath?(error: Error): void
  /** Whether the process must not end inside a call (`haltThreads`). */
  uninterruptible?: boolean
  /** Whether the process may end while nothing is asked of it. */
  mayIdle?: boolean
}

interface Waiter {
  resolve(reply: unknown): void
  reject(error: unknown): void
}

/** How to halt each open thread that wants it. */
const halts = new Set<() => Promise<void>>()

/**
 * Ends the threads that must not be ended inside a call: the one in hand is answered, those in line never begin. A
 * process must not exit while ONNX Runtime is inside a run in another thread, or being loaded there: it would abort.
 */
export async function haltThreads(): Promise<void> {
  await Promise.all([endThreadsAhead(), ...[...halts].map((halt) => halt())])
}

interface Started {
  worker: Worker
  halt: Int32Array
}

function startWorker(url: URL, data: unknown): Started {
  const halt = new Int32Array(new SharedArrayBuffer(4))
  const workerData: ThreadData<unknown> = { data, halt }
  return { worker: new Worker(url, { workerData, resourceLimits: SMALL_HEAP }), halt }
}

/** A worker without an owner, and what it has said meanwhile. */
interface StartedAhead extends Started {
  said: unknown[]
  exited: Promise<void>
  /** Ends the listening for an owner's sake. */
  release(): void
}

const startedAhead = new Map<string, StartedAhead[]>()

/**
 * Starts a worker that is wanted soon, so that it loads its code meanwhile: the next `openThread` of that file that
 * has no data takes it. Until then it does not keep the process alive. Call `endThreadsAhead` in the end.
 */
export function startThreadAhead(url: URL): void {
  const started = startWorker(url, undefined)
  const { worker } = started
  const said: unknown[] = []
  const hear = (answer: unknown): void => void said.push(answer)
  const list = startedAhead.get(url.href) ?? []
  startedAhead.set(url.href, list)
  // One that dies is not there to be taken.
  const die = (): void => {
    const at = list.findIndex((one) => one.worker === worker)
    if (at >= 0) list.splice(at, 1)
  }
  worker.on('message', hear).on('error', die).on('exit', die)
  worker.unref()
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  const release = (): void => void worker.off('message', hear).off('error', die).off('exit', die)
  list.push({ ...started, said, exited, release })
}

/** Ends the workers that were started ahead and that nobody has taken, as soon as they have started. */
export async function endThreadsAhead(): Promise<void> {
  const left = [...startedAhead.values()].flat()
  startedAhead.clear()
  for (const { worker } of left) {
    worker.ref()
    worker.postMessage('close' satisfies ThreadMessage<never>)
  }
  await Promise.all(left.map(({ exited }) => exited))
}

function takeStarted(url: URL): StartedAhead | undefined {
  const found = startedAhead.get(url.href)?.shift()
  found?.release()
  found?.worker.ref()
  return found
}

export function openThread<Request, Reply, Data = undefined>(
  url: URL,
  { data, failed, onDeath, uninterruptible, mayIdle }: ThreadOptions<Data>,
): Thread<Request, Reply> {
  const ahead = data === undefined ? takeStarted(url) : undefined
  const { worker, halt } = ahead ?? startWorker(url, data)
  const waiters = new Map<number, Waiter>()
  let nextId = 1
  let workSeconds = 0
  let dead: Error | undefined
  let closing = false

  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  const end = async (): Promise<void> => {
    closing = true
    if (!dead) worker.postMessage('close' satisfies ThreadMessage<Request>)
    await exited
  }
  const haltThis = (): Promise<void> => {
    Atomics.store(halt, 0, 1)
    return end()
  }
  if (uninterruptible) halts.add(haltThis)

  const die = (why: string): void => {
    if (dead) return
    dead = failed(why)
    for (const waiter of waiters.values()) waiter.reject(dead)
    waiters.clear()
    if (!closing) onDeath?.(dead)
  }
  const wait = (id: number): Promise<unknown> => new Promise((resolve, reject) => waiters.set(id, { resolve, reject }))

  const ready = wait(0).then(() => {})
  ready.catch(() => {}) // told to whoever asks, or by the first call
  const hear = (answer: ThreadAnswer<Reply>): void => {
    const waiter = waiters.get(answer.id)
    waiters.delete(answer.id)
    if (mayIdle && waiters.size === 0) worker.unref()
    if ('error' in answer) {
      const { message, code, exitCode, suggestions } = answer.error
      waiter?.reject(code === undefined ? failed(message) : new VtpError(message, { code, exitCode, suggestions }))
    } else {
      workSeconds += answer.seconds
      waiter?.resolve(answer.reply)
    }
  }
  for (const answer of ahead?.said ?? []) hear(answer as ThreadAnswer<Reply>)
  worker.on('message', hear)
  worker.on('error', (error) => die(errorText(error)))
  worker.on('exit', (code) => {
    halts.delete(haltThis)
    die(closing ? 'its thread was closed' : `its worker thread ended with code ${code}`)
  })

  return {
    ready,
    get waiting() {
      return waiters.size
    },
    get workSeconds() {
      return workSeconds
    },
    call(request, transfer = []) {
      if (dead) return Promise.reject(dead)
      if (mayIdle) worker.ref()
      const id = nextId++
      const answer = wait(id) as Promise<Reply>
      worker.postMessage({ id, request } satisfies ThreadMessage<Request>, transferable(transfer))
      return answer
    },
    close: end,
    async terminate() {
      closing = true
      await worker.terminate()
    },
  }
}
