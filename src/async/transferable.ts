import * as threads from 'node:worker_threads'

/** Node 21 and newer; older ones copy what cannot be handed over, newer ones throw. */
const isMarked = (threads as { isMarkedAsUntransferable?: (object: object) => boolean }).isMarkedAsUntransferable

/** Those of the buffers, each once, that a message can take along. Memory of native libraries and pools is copied. */
export function transferable(buffers: readonly ArrayBufferLike[]): ArrayBuffer[] {
  return [...new Set(buffers)].filter(
    (buffer): buffer is ArrayBuffer => buffer instanceof ArrayBuffer && !isMarked?.(buffer),
  )
}
