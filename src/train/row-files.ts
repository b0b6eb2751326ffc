/**
 * The rows of one shard as files with random access: the tensors of a local safetensors file where they lie; of other
 * formats, and of shards in a bucket, a copy in the run's folder.
 */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { usageError, VtpError } from '../errors.js'
import { removeLeftOvers, settle, temporaryName } from '../io/atomic.js'
import { makeFolder } from '../io/make-folder.js'
import { openSafetensors } from '../io/safetensors.js'
import { openFileSink } from '../io/shards/file-sink.js'
import { openShard, type Shard } from '../io/shards/index.js'
import { columnSize } from '../io/shards/rebatch.js'

/** Rows in a file one after the other. */
export interface RowFile {
  file: string
  offset: number
  dtype: 'float16' | 'float32'
}

export interface OpenRowsOptions {
  /** Where copies go. */
  folder: string
  /** Only look: nothing is copied, and rows cannot be read. */
  look?: boolean
  onNote?: (line: string) => void
  stop?: AbortSignal
}

/** Rows of a batch while a shard is gone through. */
export const BATCH_ROWS = 256

/** As int32 holds it. */
const MOST_LABEL = 2 ** 31 - 1

export interface FoundRows {
  rows: number
  shape: number[]
  labels: Int32Array
  latents: RowFile
  flip?: RowFile
  /** Of the copy in the run's folder; 0 where rows are read in place. */
  copyBytes: number
}

function latentsOf(shard: Shard): { shape: number[]; dtype: RowFile['dtype']; flip: boolean } {
  const column = shard.columns.find(({ name }) => name === 'latents')
  if (!column) throw usageError('no_latents', `${shard.path} has no latents`, ['encode with --outputs latents'])
  if (column.dtype !== 'float16' && column.dtype !== 'float32')
    throw usageError('no_latents', `${shard.path} has latents of ${column.dtype}; float16 or float32 was expected`, [
      'encode with --dtype float16 or float32',
    ])
  const flip = shard.columns.find(({ name }) => name === 'latents_flip')
  return {
    shape: column.shape,
    dtype: column.dtype,
    flip: flip?.dtype === column.dtype && flip.shape.join() === column.shape.join(),
  }
}

/** Rows where they lie: the tensors of a local safetensors file. */
export async function rowsInPlace(file: string): Promise<FoundRows> {
  const shard = await openShard(file)
  const tensors = await openSafetensors(file)
  try {
    const { shape, dtype, flip } = latentsOf(shard)
    const at = (name: string): RowFile => ({ file, dtype, offset: tensors.tensors.get(name)!.offset })
    return {
      rows: shard.rows,
      shape,
      labels: await labelsOf(shard),
      latents: at('latents'),
      ...(flip && { flip: at('latents_flip') }),
      copyBytes: 0,
    }
  } finally {
    await Promise.allSettled([shard.close(), tensors.close()])
  }
}

/** What a copy would hold; nothing is read but labels, nothing is written. */
export async function lookAtRows(file: string): Promise<FoundRows> {
  const shard = await openShard(file)
  try {
    const { shape, dtype, flip } = latentsOf(shard)
    const none: RowFile = { file, offset: 0, dtype }
    return {
      rows: shard.rows,
      shape,
      labels: await labelsOf(shard),
      latents: none,
      ...(flip && { flip: none }),
      copyBytes: rowBytes(shape, dtype) * shard.rows * (flip ? 2 : 1),
    }
  } finally {
    await shard.close()
  }
}

async function labelsOf(shard: Shard): Promise<Int32Array> {
  const labels = new Int32Array(shard.rows)
  let row = 0
  for await (const batch of shard.read([], 65_536)) for (const meta of batch.rows) labels[row++] = labelOf(meta, shard)
  return labels
}

/** −1 where a row has none. */
function labelOf({ key, label }: { key: string; label: number | null }, shard: Shard): number {
  if (label === null) return -1
  if (label <= MOST_LABEL) return label
  throw usageError('class_out_of_range', `${key} of ${shard.path} has class ${label}: that is no number of a class`, [
    'number classes from 0',
  ])
}

const rowBytes = (shape: number[], dtype: RowFile['dtype']): number =>
  columnSize({ name: 'latents', dtype, shape }) * (dtype === 'float16' ? 2 : 4)

interface CopyNote {
  rows: number
  shape: number[]
  dtype: RowFile['dtype']
  flip: boolean
}

/** Rows that an earlier call has copied, or copies them; the note with their shape comes last. */
export async function copyRows(file: string, stem: string, { folder, stop }: OpenRowsOptions): Promise<FoundRows> {
  const at = (what: string): string => path.join(folder, `${stem}.${what}`)
  const result = async ({ rows, shape, dtype, flip }: CopyNote): Promise<FoundRows> => {
    const bytes = await readFile(at('labels'))
    const rowFile = (what: string): RowFile => ({ file: at(what), offset: 0, dtype })
    return {
      ...{ rows, shape },
      labels: new Int32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)),
      latents: rowFile('latents'),
      ...(flip && { flip: rowFile('flip') }),
      copyBytes: rowBytes(shape, dtype) * rows * (flip ? 2 : 1),
    }
  }
  const known = await readFile(at('json'), 'utf8').catch(() => undefined)
  if (known !== undefined) return result(JSON.parse(known) as CopyNote)
  await makeFolder(path.resolve(folder))
  await removeLeftOvers(folder)
  const shard = await openShard(file)
  try {
    const { shape, dtype, flip } = latentsOf(shard)
    const names = ['latents', ...(flip ? ['latents_flip'] : [])]
    const sinks = await Promise.all(names.map((_, i) => openFileSink(temporaryName(at(i === 0 ? 'latents' : 'flip')))))
    const labels: number[] = []
    try {
      for await (const batch of shard.read(names, BATCH_ROWS)) {
        stop?.throwIfAborted()
        for (const [i, name] of names.entries()) {
          const { buffer, byteOffset, byteLength } = batch.tensors[name]!
          await sinks[i]!.write(new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength))
        }
        labels.push(...batch.rows.map((meta) => labelOf(meta, shard)))
      }
    } catch (error) {
      await Promise.allSettled(sinks.map((sink) => sink.abort()))
      throw error
    }
    const width = rowBytes(shape, dtype)
    if (labels.length !== shard.rows || sinks.some((sink) => sink.bytes !== width * shard.rows))
      throw new VtpError(`${file} has ${labels.length} of ${shard.rows} rows`, {
        code: 'bad_shard',
        suggestions: ['run `vtp verify`'],
      })
    for (const [i, sink] of sinks.entries()) {
      await sink.finish()
      await settle(sink.path, at(i === 0 ? 'latents' : 'flip'))
    }
    const note: CopyNote = { rows: shard.rows, shape, dtype, flip }
    await putBytes(at('labels'), new Uint8Array(Int32Array.from(labels).buffer))
    await putBytes(at('json'), Buffer.from(`${JSON.stringify(note)}\n`))
    return await result(note)
  } finally {
    await shard.close()
  }
}

async function putBytes(file: string, bytes: Uint8Array): Promise<void> {
  const sink = await openFileSink(temporaryName(file))
  await sink.write(bytes)
  await sink.finish()
  await settle(sink.path, file)
}
