/**
 * The LightningDiT layout (generation/tools/extract_features_vtp.py): tensors `latents`, `latents_flip`
 * and `labels` (int64, −1 where the source has none) with header metadata total_size, dtype and device,
 * so that the reference's ImgLatentDataset opens the folder as it is. Further outputs are further tensors.
 * Row metadata goes to a sidecar `….keys.jsonl`.
 *
 * The header comes first and tells the number of rows, which is known last (headed-file.ts).
 */
import path from 'node:path'
import { temporaryName } from '../atomic.js'
import { type EncodedHeader, encodeSafetensorsHeader, type HeaderEntry } from '../safetensors-header.js'
import { openFileSink } from './file-sink.js'
import { type HeadedLayout, openHeadedFile } from './headed-file.js'
import { tensorBytes } from './rebatch.js'
import type { FinishedFile, FormatWriter, ShardSpec } from './types.js'

const DTYPES = { float16: 'F16', float32: 'F32', uint8: 'U8', int32: 'I32' } as const
const TORCH = {
  float16: 'torch.float16',
  float32: 'torch.float32',
  uint8: 'torch.uint8',
  int32: 'torch.int32',
} as const

function headerOf({ columns, provenance }: ShardSpec, rows: number): EncodedHeader {
  const entries: HeaderEntry[] = [
    { name: 'labels', dtype: 'I64', shape: [rows] },
    ...columns.map((c) => ({ name: c.name, dtype: DTYPES[c.dtype], shape: [rows, ...c.shape] })),
  ]
  const latents = columns.find((c) => c.name === 'latents')!
  return encodeSafetensorsHeader(entries, {
    // As the reference writes them; ours follow.
    total_size: String(rows),
    dtype: TORCH[latents.dtype],
    device: 'cpu',
    ...provenance,
  })
}

/** The file that `rows` rows will make. */
function layoutOf(spec: ShardSpec, rows: number): HeadedLayout {
  const { bytes, order } = headerOf(spec, rows)
  const rowBytes = (name: string): number =>
    name === 'labels' ? BigInt64Array.BYTES_PER_ELEMENT : tensorBytes(spec.columns.filter((c) => c.name === name))
  return { header: bytes.length, parts: order.map((entry) => rows * rowBytes(entry.name)) }
}

/** Rows whose labels and metadata are written at once: a batch has too little of them for a call of the system. */
const SMALL_ROWS = 512

export async function openSafetensorsWriter(
  spec: ShardSpec,
  name: string,
  tmpDir: string,
  expectedRows?: number,
): Promise<FormatWriter> {
  const tmp = (what: string): string => temporaryName(path.join(tmpDir, `${name}.${what}`))
  const order = headerOf(spec, 0).order.map((entry) => entry.name)
  const partOf = new Map(order.map((column, part) => [column, part]))
  const layout = expectedRows === undefined ? undefined : layoutOf(spec, expectedRows)
  const file = await openHeadedFile(tmp, order, layout)
  const keysName = name.replace(/\.safetensors$/, '.keys.jsonl')
  const keys = await openFileSink(tmp('keys'))
  let rows = 0
  let labels: bigint[] = []
  let lines: string[] = []
  const flush = async (): Promise<void> => {
    await file.append(partOf.get('labels')!, new Uint8Array(BigInt64Array.from(labels).buffer))
    await keys.write(Buffer.from(lines.join('')))
    labels = []
    lines = []
  }

  return {
    async append(batch) {
      rows += batch.rows.length
      for (const { name: column } of spec.columns) {
        const data = batch.tensors[column]!
        await file.append(partOf.get(column)!, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
      }
      for (const row of batch.rows) {
        labels.push(BigInt(row.label ?? -1))
        const { key, uri, label, caption, metadata = null, width, height, sha256 } = row
        const className = label === null ? undefined : spec.classes?.[label]
        const meta = {
          key,
          uri,
          label,
          ...(className === undefined ? {} : { class: className }),
          ...(spec.captions ? { caption } : {}),
          ...(spec.metadata ? { metadata } : {}),
          width,
          height,
          sha256: Buffer.from(sha256).toString('hex'),
        }
        lines.push(`${JSON.stringify(meta)}\n`)
      }
      if (lines.length >= SMALL_ROWS) await flush()
    },
    async finish() {
      await flush()
      const files: FinishedFile[] = [{ name, ...(await file.finish(headerOf(spec, rows).bytes)) }]
      files.push({ name: keysName, ...(await keys.finish()) })
      return files
    },
    async abort() {
      await Promise.allSettled([file.abort(), keys.abort()])
    },
  }
}
