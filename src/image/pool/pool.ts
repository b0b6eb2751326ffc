/**
 * The way from bytes to pixels: a pool of workers (pixel-worker.ts) that decode an image once and make the views
 * that are wanted of it, or say why it is rejected. Threads by default; child processes when `isolated`, where a
 * dead child ends the image it held as reject `crashed_decoder` and is replaced. A thread holds at most two
 * images: one decodes in libuv's pool while the other is resampled. Workers are started when there is work for them.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { openThread, startThreadAhead } from '../../async/thread.js'
import { workerUrl } from '../../async/worker-url.js'
import { VtpError } from '../../errors.js'
import { type RejectCode, RejectError, type Stage } from '../../types.js'
import { DEFAULT_LIMITS, type DecodeLimits } from '../decode-limits.js'
import type { Picture, View } from './views.js'

/** Where the bytes of each view go: from these offsets on in shared memory. */
export interface Place {
  target: SharedArrayBuffer
  offsets: number[]
}

export interface PixelRequest {
  /** The encoded image, or packed pixels (raw-rgb.ts). They may be transferred away. */
  bytes: Uint8Array
  views: readonly View[]
  limits?: DecodeLimits
  /** Without one the pictures come with the answer. */
  place?: Place
}

export type RejectedImage = { reject: { code: RejectCode; stage: Stage; message: string } }

export interface PixelResult {
  /** Size and SHA-256 of the original image. */
  width: number
  height: number
  sha256: Uint8Array
  /** In the order of the views; none where they went to their place. */
  pictures: Picture[]
}

export type WorkerRequest = Omit<PixelRequest, 'limits'> & { id: number; limits: DecodeLimits }
export type WorkerReply = { id: number } & (PixelResult | RejectedImage)

export interface PixelPool {
  /** Images that are worked on at once; more wait in line. */
  readonly capacity: number
  run(request: PixelRequest): Promise<PixelResult | RejectedImage>
  close(): Promise<void>
}

interface Job {
  request: PixelRequest
  resolve(result: PixelResult | RejectedImage): void
  reject(error: unknown): void
}

interface Member {
  jobs: Map<number, Job>
  send(request: WorkerRequest): void
  stop(): Promise<void>
}

const IMAGES_PER_THREAD = 2
const WORKER = 'image/pool/pixel-worker'

/** Starts the first thread of a pool that is opened soon. */
export function startPixelsAhead(): void {
  startThreadAhead(workerUrl(WORKER))
}

export function openPixelPool(size: number, isolated = false): PixelPool {
  const members: Member[] = []
  const waiting: Job[] = []
  let nextId = 0
  let closed = false
  // One image at a time in a child: when it dies, it is known which image did it.
  const perMember = isolated ? 1 : IMAGES_PER_THREAD

  const idlest = (): Member | undefined =>
    members.reduce<Member | undefined>(
      (best, m) => (m.jobs.size < perMember && (!best || m.jobs.size < best.jobs.size) ? m : best),
      undefined,
    )
  const dispatch = (): void => {
    for (;;) {
      if (waiting.length === 0) return
      let free = idlest()
      // The first image has a member already; another is started for an image that would share or wait.
      if (free?.jobs.size !== 0 && members.length < size) {
        free = start()
        members.push(free)
      }
      if (!free) return
      const job = waiting.shift()!
      const id = nextId++
      free.jobs.set(id, job)
      const { bytes, views, limits = DEFAULT_LIMITS, place } = job.request
      free.send({ id, bytes, views, limits, ...(isolated || !place ? {} : { place }) })
    }
  }
  const settle = (member: Member, { id, ...result }: WorkerReply): void => {
    const job = member.jobs.get(id)
    member.jobs.delete(id)
    if (!job) return
    if ('reject' in result) job.resolve(result)
    else {
      const { place } = job.request
      if (place && result.pictures.length > 0) placePictures(result.pictures, place)
      job.resolve({ ...result, sha256: Uint8Array.from(result.sha256), pictures: place ? [] : result.pictures })
    }
    dispatch()
  }
  const replace = (member: Member, how: string): void => {
    members.splice(members.indexOf(member), 1)
    if (closed) return
    members.push(start())
    for (const job of member.jobs.values()) {
      // A thread rejects its jobs itself.
      if (isolated)
        job.resolve({ reject: { code: 'crashed_decoder', stage: 'decode', message: `the decoder ended with ${how}` } })
    }
    dispatch()
  }

  function start(): Member {
    return isolated ? startChild() : startThread()
  }
  function startThread(): Member {
    const thread = openThread<WorkerRequest, WorkerReply>(workerUrl(WORKER), {
      data: undefined,
      failed: (why) => new VtpError(`A preprocessing thread ended: ${why}`, { code: 'preprocess_thread_failed' }),
      onDeath: (error) => replace(member, error.message),
    })
    const member: Member = {
      jobs: new Map(),
      send(request) {
        const { buffer, byteLength } = request.bytes
        const whole = byteLength === buffer.byteLength && buffer instanceof ArrayBuffer
        thread.call(request, whole ? [buffer] : []).then(
          (reply) => settle(member, reply),
          (error) => {
            member.jobs.get(request.id)?.reject(error)
            member.jobs.delete(request.id)
          },
        )
      },
      stop: () => thread.terminate(),
    }
    return member
  }

  function startChild(): Member {
    const child: ChildProcess = fork(fileURLToPath(workerUrl(WORKER)), [], {
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    })
    const member: Member = {
      jobs: new Map(),
      send: (request) => void child.send(request),
      stop: async () => void child.kill('SIGKILL'),
    }
    child.on('message', (reply) => settle(member, reply as WorkerReply))
    child.on('exit', (code, signal) => replace(member, signal ?? `exit code ${code}`))
    return member
  }

  members.push(start())
  return {
    capacity: size * perMember,
    run(request) {
      return new Promise((resolve, reject) => {
        waiting.push({ request, resolve, reject })
        dispatch()
      })
    },
    async close() {
      closed = true
      await Promise.all(members.map((member) => member.stop()))
    },
  }
}

/** Writes every picture to its offset. */
export function placePictures(pictures: readonly Picture[], { target, offsets }: Place): void {
  for (const [i, { data }] of pictures.entries()) {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    new Uint8Array(target, offsets[i]!, bytes.length).set(bytes)
  }
}

/** One picture of one image. Throws RejectError for anything wrong with it. */
export async function onePicture(
  pool: PixelPool,
  bytes: Uint8Array,
  view: View,
  limits?: DecodeLimits,
): Promise<Picture> {
  const result = await pool.run({ bytes, views: [view], limits })
  if ('reject' in result) throw new RejectError(result.reject.code, result.reject.stage, result.reject.message)
  return result.pictures[0]!
}
