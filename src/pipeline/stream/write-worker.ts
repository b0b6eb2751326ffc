/**
 * A worker thread that writes shards: encoding, hashing and disk writes happen here, one unit at a time,
 * so that neither the scheduling thread nor the encoder waits for them.
 */
import { serveThread, threadData } from '../../async/serve-thread.js'
import { openShardWriter } from '../../io/shards/open-writer.js'
import type { ShardWriter } from '../../io/shards/types.js'
import { nonFiniteReject, takeFiniteRows } from './finite.js'
import { createPieceKeeper } from './piece-keeper.js'
import type { WriteRequest, WriterSettings } from './unit-writer.js'

const settings = threadData<WriterSettings>()
const keeper = createPieceKeeper(settings.keep, settings.spec.columns, settings.tmpDir)
let writer: ShardWriter | undefined

async function handle(request: WriteRequest): Promise<unknown> {
  switch (request.type) {
    case 'open':
      writer = await openShardWriter(settings.spec, request.unit, settings.tmpDir, request.entries)
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

serveThread<WriteRequest, unknown>({ handle: async (request) => ({ reply: await handle(request) }) })
