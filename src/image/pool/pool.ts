/**
 * A pool of preprocessing workers (preprocess-worker.ts). Threads by default; child processes when
 * `isolated`, where a dead child ends the image it held as reject `crashed_decoder` and is replaced.
 * Each worker holds at most two images: one decodes in libuv's pool while the other is resampled.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { SMALL_HEAP, workerUrl } from '../../async/worker-url.js'
import { VtpError } from '../../errors.js'
import type { RejectCode, Stage } from '../../types.js'
import type { DecodeLimits } from '../decode.js'

export interface PreprocessSettings {
  /** Canonical transform spec. */
  transform: string
  limits: DecodeLimits
  /** Whether the mirrored pixels are wanted too. */
  flip: boolean
}

export interface PreprocessRequest {
  id: number
  bytes: Uint8Array
  /** Where the pixels go; absent for a child process. */
  target?: SharedArrayBuffer
  /** Byte offset of the pixels in `target`. */
  offset: number
  /** Byte offset of the mirrored pixels, used when `flip` is set. */
  flipOffset: number
}

export type PreprocessReply =
  | { id: number; width: number; height: number; sha256: Uint8Array; pixels?: Uint8Array; flipped?: Uint8Array }
  | { id: number; reject: { code: RejectCode; stage: Stage; message: string } }

export type Preprocessed =
  | { width: number; height: number; sha256: Uint8Array }
  | { reject: { code: RejectCode; stage: Stage; message: string } }

/** Where the pixels of one image go. */
export type Place = Required<Pick<PreprocessRequest, 'target' | 'offset' | 'flipOffset'>>

export interface PreprocessPool {
  /** Preprocesses one image into its place in a batch; its bytes are transferred away. */
  run(bytes: Uint8Array, place: Place): Promise<Preprocessed>
  close(): Promise<void>
}

interface Job {
  bytes: Uint8Array
  place: Place
  resolve(result: Preprocessed): void
  reject(error: unknown): void
}

interface Member {
  jobs: Map<number, Job>
  send(request: PreprocessRequest): void
  stop(): Promise<void>
}

const IMAGES_PER_THREAD = 2

export function createPreprocessPool(settings: PreprocessSettings, size: number, isolated: boolean): PreprocessPool {
  const members: Member[] = []
  const waiting: Job[] = []
  let nextId = 0
  let closed = false
  // One image at a time in a child: when it dies, it is known which image did it.
  const capacity = isolated ? 1 : IMAGES_PER_THREAD

  const dispatch = (): void => {
    for (;;) {
      if (waiting.length === 0) return
      const free = members.reduce<Member | undefined>(
        (best, m) => (m.jobs.size < capacity && (!best || m.jobs.size < best.jobs.size) ? m : best),
        undefined,
      )
      if (!free) return
      const job = waiting.shift()!
      const id = nextId++
      free.jobs.set(id, job)
      const { target, ...offsets } = job.place
      free.send({ id, bytes: job.bytes, target: isolated ? undefined : target, ...offsets })
    }
  }
  const settle = (member: Member, reply: PreprocessReply): void => {
    const job = member.jobs.get(reply.id)
    member.jobs.delete(reply.id)
    if (!job) return
    if ('reject' in reply) job.resolve({ reject: reply.reject })
    else {
      const { target, offset, flipOffset } = job.place
      if (reply.pixels) new Uint8Array(target, offset, reply.pixels.length).set(reply.pixels)
      if (reply.flipped) new Uint8Array(target, flipOffset, reply.flipped.length).set(reply.flipped)
      job.resolve({ width: reply.width, height: reply.height, sha256: Uint8Array.from(reply.sha256) })
    }
    dispatch()
  }
  const replace = (member: Member, how: string): void => {
    members.splice(members.indexOf(member), 1)
    if (closed) return
    members.push(isolated ? startChild() : startThread())
    for (const job of member.jobs.values()) {
      if (isolated) {
        job.resolve({ reject: { code: 'crashed_decoder', stage: 'decode', message: `the decoder ended with ${how}` } })
      } else {
        job.reject(new VtpError(`A preprocessing thread ended: ${how}`, { code: 'preprocess_thread_failed' }))
      }
    }
    dispatch()
  }

  function startThread(): Member {
    const worker = new Worker(workerUrl(import.meta.url, './worker.js'), {
      workerData: settings,
      resourceLimits: SMALL_HEAP,
    })
    const member: Member = {
      jobs: new Map(),
      send: (request) => {
        const whole = request.bytes.byteLength === request.bytes.buffer.byteLength
        worker.postMessage(request, whole ? [request.bytes.buffer as ArrayBuffer] : [])
      },
      stop: async () => void (await worker.terminate()),
    }
    worker.on('message', (reply: PreprocessReply) => settle(member, reply))
    worker.on('error', (error) => replace(member, error.message))
    return member
  }

  function startChild(): Member {
    const file = fileURLToPath(workerUrl(import.meta.url, './worker.js'))
    const child: ChildProcess = fork(file, [], {
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    })
    const member: Member = {
      jobs: new Map(),
      send: (request) => void child.send(request),
      stop: async () => void child.kill('SIGKILL'),
    }
    child.send({ settings })
    child.on('message', (reply) => settle(member, reply as PreprocessReply))
    child.on('exit', (code, signal) => replace(member, signal ?? `exit code ${code}`))
    return member
  }

  for (let i = 0; i < size; i++) members.push(isolated ? startChild() : startThread())
  return {
    run(bytes, place) {
      return new Promise((resolve, reject) => {
        waiting.push({ bytes, place, resolve, reject })
        dispatch()
      })
    },
    async close() {
      closed = true
      await Promise.all(members.map((member) => member.stop()))
    },
  }
}
