/**
 * A worker thread that writes shards: encoding, hashing and disk writes happen here, one unit at a time,
 * so that neither the scheduling thread nor the encoder waits for them.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { errorText, VtpError } from '../../errors.js'
import { openShardWriter, type ShardWriter } from '../../io/shards/index.js'
import { nonFiniteReject, takeFiniteRows } from './finite.js'
import { createPieceKeeper } from './piece-keeper.js'
import type { WriteReply, WriteRequest, WriterSettings } from './unit-writer.js'

const port = parentPort!
const settings = workerData as WriterSettings
const keeper = createPieceKeeper(settings.keep, settings.spec.columns, settings.tmpDir)
let writer: ShardWriter | undefined

async function handle(request: WriteRequest): Promise<unknown> {
  switch (request.type) {
    case 'open':
      writer = await openShardWriter(settings.spec, request.unit, settings.tmpDir)
      keeper.open(request.unit)
      return undefined
    case 'append': {
      const { batch, dropped } = takeFiniteRows(request.batch, settings.spec.columns)
      await writer!.append(batch)
      const { place } = request
      if (!place) return { dropped, pieces: [] }
      const rejects = dropped.map(({ index, column }) => {
        return { position: place.positions[index]!, reject: nonFiniteReject(request.batch.rows[index]!, column) }
      })
      const { start, end } = place
      return { dropped, pieces: await keeper.add({ start, end, batch, rejects: [...place.rejects, ...rejects] }) }
    }
    case 'keep':
      return keeper.take()
    case 'finish': {
      keeper.clear()
      const files = await writer!.finish()
      writer = undefined
      return files
    }
    case 'abort':
      keeper.clear()
      await writer?.abort()
      writer = undefined
      return undefined
  }
}

let queue: Promise<void> = Promise.resolve()
port.on('message', (request: WriteRequest | 'close') => {
  if (request === 'close') {
    void queue.then(() => port.close())
    return
  }
  queue = queue.then(async () => {
    const started = performance.now()
    let reply: WriteReply
    try {
      const value = await handle(request)
      reply = { id: request.id, value, seconds: (performance.now() - started) / 1000 }
    } catch (error) {
      const known = error instanceof VtpError ? error : undefined
      reply = {
        id: request.id,
        error: {
          message: errorText(error),
          code: known?.code ?? 'write_failed',
          suggestions: known?.suggestions ?? [],
        },
      }
    }
    port.postMessage(reply)
  })
})
