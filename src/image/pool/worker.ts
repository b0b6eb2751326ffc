/**
 * Preprocessing of one image: hash, decode, transform, pixels into their place in the batch. Runs as a
 * worker thread (pixels go straight into the batch's shared memory) or, for units that have killed their
 * process before, as a child process (pixels come back in the message), so that a native crash in the
 * decoder costs one image instead of the run.
 */
import { createHash } from 'node:crypto'
import { parentPort, workerData } from 'node:worker_threads'
import { RejectError } from '../../types.js'
import { decodeImage } from '../decode.js'
import { flipHorizontal } from '../flip.js'
import { unpackRawRgb } from '../raw-rgb.js'
import { applyTransform, parseTransform, type Transform } from '../transform.js'
import type { PreprocessReply, PreprocessRequest, PreprocessSettings } from './pool.js'

let transform: Transform
let settings: PreprocessSettings

async function preprocess(request: PreprocessRequest): Promise<PreprocessReply> {
  const { id, bytes } = request
  try {
    const raw = unpackRawRgb(bytes)
    const image = raw?.image ?? (await decodeImage(bytes, settings.limits, 'here'))
    const { width, height } = raw?.original ?? image
    let pixels: Uint8Array
    try {
      pixels = applyTransform(image, transform).data
    } catch (error) {
      if (error instanceof RejectError) throw error
      throw new RejectError('corrupt', 'transform', error instanceof Error ? error.message : String(error))
    }
    const sha256 = raw?.original.sha256 ?? createHash('sha256').update(bytes).digest()
    const flipped = settings.flip ? flipHorizontal({ ...transform, data: pixels }).data : undefined
    if (!request.target) return { id, width, height, sha256, pixels, flipped }
    const { target, offset, flipOffset } = request
    new Uint8Array(target, offset, pixels.length).set(pixels)
    if (flipped) new Uint8Array(target, flipOffset, flipped.length).set(flipped)
    return { id, width, height, sha256 }
  } catch (error) {
    if (error instanceof RejectError) {
      return { id, reject: { code: error.code, stage: error.stage, message: error.message } }
    }
    const message = error instanceof Error ? error.message : String(error)
    return { id, reject: { code: 'corrupt', stage: 'decode', message } }
  }
}

function start(init: PreprocessSettings): void {
  settings = init
  transform = parseTransform(init.transform)
}

if (parentPort) {
  const port = parentPort
  start(workerData as PreprocessSettings)
  port.on('message', (request: PreprocessRequest) => {
    void preprocess(request).then((reply) => port.postMessage(reply))
  })
} else {
  // Ctrl-C reaches the whole process group; only the parent decides what happens then.
  process.on('SIGINT', () => {})
  process.on('SIGTERM', () => {})
  process.on('message', (message: PreprocessRequest | { settings: PreprocessSettings }) => {
    if ('settings' in message) start(message.settings)
    else void preprocess(message).then((reply) => process.send?.(reply))
  })
  process.on('disconnect', () => process.exit(0))
}
