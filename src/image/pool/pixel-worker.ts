/**
 * One member of the pool: hash, decode, make the views. As a worker thread it puts them straight into shared
 * memory, or transfers them; as a child process, for images that may kill their decoder, it sends them back, so
 * that a native crash costs one image instead of the run.
 */
import { createHash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import { freeBuffers, serveThread } from '../../async/serve-thread.js'
import { transferable } from '../../async/transferable.js'
import { RejectError } from '../../types.js'
import { isPart } from '../cropped-resize.js'
import { decodeImage } from '../decode.js'
import { unpackRawRgb } from '../raw-rgb.js'
import { placePictures, type WorkerReply, type WorkerRequest } from './pool.js'
import { createScratch } from './scratch.js'
import { makePictures, partOfViews } from './views.js'

const scratch = createScratch()

/** The answer, and what nobody needs any more once it is given. */
async function answer({ id, bytes, views, limits, place }: WorkerRequest): Promise<[WorkerReply, ArrayBufferLike[]]> {
  const used: ArrayBufferLike[] = [bytes.buffer]
  try {
    const raw = unpackRawRgb(bytes)
    const image =
      raw?.image ?? (await decodeImage(bytes, limits, 'here', { wantPart: partOfViews(views), allocate: scratch.take }))
    used.push(image.data.buffer)
    const { width, height } = raw?.original ?? (isPart(image) ? image.of : image)
    const pictures = makePictures(image, views)
    const sha256 = raw?.original.sha256 ?? createHash('sha256').update(bytes).digest()
    if (!place) return [{ id, width, height, sha256, pictures }, used]
    placePictures(pictures, place)
    used.push(...pictures.map(({ data }) => data.buffer))
    return [{ id, width, height, sha256, pictures: [] }, used]
  } catch (error) {
    if (error instanceof RejectError)
      return [{ id, reject: { code: error.code, stage: error.stage, message: error.message } }, used]
    const message = error instanceof Error ? error.message : String(error)
    return [{ id, reject: { code: 'corrupt', stage: 'decode', message } }, used]
  }
}

/** What the answer takes along. */
const moved = (reply: WorkerReply): ArrayBuffer[] =>
  'reject' in reply ? [] : transferable(reply.pictures.map(({ data }) => data.buffer))

if (parentPort) {
  serveThread<WorkerRequest, WorkerReply>({
    atOnce: true,
    async handle(request) {
      const [reply, used] = await answer(request)
      const transfer = moved(reply)
      // A decoded image, or packed pixels, may be the picture themselves.
      const unused = new Set(used.filter((buffer) => !transfer.includes(buffer as ArrayBuffer)))
      freeBuffers([...unused].filter((buffer) => !scratch.giveBack(buffer)))
      return { reply, transfer }
    },
  })
} else {
  // Ctrl-C reaches the whole process group; only the parent decides what happens then.
  process.on('SIGINT', () => {})
  process.on('SIGTERM', () => {})
  process.on('message', (request: WorkerRequest) => {
    void answer(request).then(([reply]) => process.send?.(reply))
  })
  process.on('disconnect', () => process.exit(0))
}
