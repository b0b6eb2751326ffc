/**
 * Arrow shards, record batch by record batch. Lists of the footer and of every message are checked before the
 * library runs through them: a damaged file is an error in a moment, not a process without memory.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { RecordBatchReader } from 'apache-arrow'
import { VtpError } from '../../errors.js'
import { checkArrowFooter, checkArrowMessage } from '../arrow-message.js'
import { readFully } from '../read-fully.js'
import { fromRecordBatch, pick, slices, tensorColumns } from './record-batches.js'
import type { Shard } from './types.js'

const MAGIC = 'ARROW1'
/** Length of the footer and the magic at the end. */
const TAIL_BYTES = 10
const CONTINUATION = 0xffffffff

/** Throws an Error where a list of the file claims more than there is. */
async function checkFile(handle: FileHandle): Promise<void> {
  const { size } = await handle.stat()
  const read = async (offset: number, bytes: number): Promise<Buffer> => {
    if (!(offset >= 0 && bytes >= 0 && offset + bytes <= size)) throw new Error('it ends early')
    const into = Buffer.alloc(bytes)
    if (!(await readFully(handle, into, offset))) throw new Error('it ends early')
    return into
  }
  const tail = await read(size - TAIL_BYTES, TAIL_BYTES)
  if (tail.toString('latin1', 4) !== MAGIC) throw new Error('the end of an Arrow file is missing')
  const footerBytes = tail.readInt32LE(0)
  const footer = await read(size - TAIL_BYTES - footerBytes, footerBytes)
  for (const { offset, headerBytes, bodyBytes } of checkArrowFooter(footer)) {
    const front = await read(offset, headerBytes)
    if (!(bodyBytes >= 0 && offset + headerBytes + bodyBytes <= size)) throw new Error('a record batch is cut off')
    checkArrowMessage(front.subarray(front.readUInt32LE(0) === CONTINUATION ? 8 : 4), bodyBytes)
  }
}

export async function openArrow(file: string): Promise<Shard> {
  const handle = await open(file)
  try {
    await checkFile(handle)
    const reader = await RecordBatchReader.from(handle)
    await reader.open()
    if (!reader.isFile()) throw new VtpError(`${file} is not an Arrow IPC file`, { code: 'bad_shard' })
    const { schema } = reader
    const columns = tensorColumns(schema)
    let rows = 0
    for (let i = 0; i < reader.numRecordBatches; i++) rows += (await reader.readRecordBatch(i))?.numRows ?? 0
    return {
      path: file,
      rows,
      columns,
      provenance: Object.fromEntries(schema.metadata),
      async *read(names, batchRows) {
        const wanted = pick(columns, names, file)
        for (let i = 0; i < reader.numRecordBatches; i++) {
          const batch = await reader.readRecordBatch(i)
          if (batch) yield* slices(fromRecordBatch(batch, wanted), wanted, batchRows)
        }
      },
      groups: reader.numRecordBatches,
      async readGroup(index, names) {
        const batch = await reader.readRecordBatch(index)
        if (!batch) throw new VtpError(`${file} has no record batch ${index}`, { code: 'bad_shard' })
        return fromRecordBatch(batch, pick(columns, names, file))
      },
      close: async () => {
        await reader.cancel()
        await handle.close().catch(() => {})
      },
    }
  } catch (error) {
    await handle.close().catch(() => {})
    throw error
  }
}
