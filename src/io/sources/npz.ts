/**
 * The images of an .npz as a source: `arr_0`, uint8 [N, H, W, 3], as ADM's sample batches and `vtp generate --npz`
 * have them; `arr_1` are their classes, where it is there. The archive may be compressed, so it is read front to
 * back; an image before the place that was reached begins anew.
 */
import { createHash } from 'node:crypto'
import path from 'node:path'
import { errorText, usageError } from '../../errors.js'
import { packRawRgb } from '../../image/raw-rgb.js'
import { RejectError, type Source } from '../../types.js'
import { openNpz } from '../numpy/npz.js'
import { uriScheme } from '../store.js'

const CHUNK_ROWS = 16

/** Throws usage error `no_images` for archives without images. */
export async function openNpzImages(name: string): Promise<Source> {
  if (uriScheme(name) !== undefined)
    throw usageError('remote_npz', `${name} is an archive in a bucket: it is read from a disk alone`, [
      'copy it here first',
    ])
  const file = path.resolve(name)
  const npz = await openNpz(file)
  const array = npz.arrays.get('arr_0')
  const [count = 0, height = 0, width = 0, channels] = array?.shape ?? []
  if (array?.refused || array?.descr !== '|u1' || array.shape.length !== 4 || channels !== 3) {
    await npz.close()
    if (array?.refused) throw array.refused
    throw usageError('no_images', `${name} holds no images (arr_0 of uint8 [N, H, W, 3])`, [
      `it has ${[...npz.arrays.values()].map((a) => `${a.name} ${a.descr}[${a.shape}]`).join(', ')}`,
    ])
  }
  const classes = npz.arrays.get('arr_1')
  const labelled = classes !== undefined && /^<i[48]$/.test(classes.descr) && classes.shape.join() === String(count)
  const rowBytes = height * width * 3
  let cursor = npz.streamRows('arr_0', CHUNK_ROWS)
  let chunk: { start: number; count: number; bytes: Uint8Array } = { start: 0, count: 0, bytes: new Uint8Array() }
  let queue: Promise<unknown> = Promise.resolve()
  const rowOf = async (row: number): Promise<Uint8Array> => {
    if (row < chunk.start) {
      await cursor.return(undefined)
      cursor = npz.streamRows('arr_0', CHUNK_ROWS)
      chunk = { start: 0, count: 0, bytes: new Uint8Array() }
    }
    while (row >= chunk.start + chunk.count) {
      const next = await cursor.next()
      if (next.done) throw new Error(`it ends before image ${row}`)
      chunk = { ...next.value, start: chunk.start + chunk.count }
    }
    return chunk.bytes.subarray((row - chunk.start) * rowBytes, (row - chunk.start + 1) * rowBytes)
  }
  try {
    // An order of its elements that cannot be read is no fault of its images.
    if (count > 0) await rowOf(0)
  } catch (error) {
    await npz.close()
    throw error
  }
  return {
    kind: 'shards',
    uri: file,
    passedOver: { count: 0, examples: [] },
    notes: [],
    pixelSize: { height, width },
    async *list(signal) {
      const labels = labelled ? await npz.readFloat64('arr_1') : undefined
      for (let row = 0; row < count; row++) {
        signal?.throwIfAborted()
        const key = String(row).padStart(6, '0')
        yield {
          key,
          uri: `${file}#${row}`,
          ...(labels && labels[row]! >= 0 ? { label: labels[row]! } : {}),
          at: { kind: 'shard', path: file, group: 0, row },
        }
      }
    },
    async read({ at }) {
      if (at.kind !== 'shard') throw new RejectError('bad_entry', 'read', `the entry is of kind ${at.kind}`)
      const read = queue.then(() => rowOf(at.row))
      queue = read.catch(() => {})
      try {
        const data = await read
        const sha256 = createHash('sha256').update(data).digest()
        return packRawRgb({ image: { data, height, width }, original: { height, width, sha256 } })
      } catch (error) {
        throw new RejectError('unreadable', 'read', `image ${at.row} of the archive: ${errorText(error)}`, error)
      }
    },
    async close() {
      await queue
      await npz.close()
    },
  }
}
