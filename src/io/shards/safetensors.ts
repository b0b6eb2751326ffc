/**
 * The LightningDiT layout (generation/tools/extract_features_vtp.py): tensors `latents`, `latents_flip`
 * and `labels` (int64, −1 where the source has none) with header metadata total_size, dtype and device,
 * so that the reference's ImgLatentDataset opens the folder as it is. Further outputs are further tensors.
 * Row metadata goes to a sidecar `….keys.jsonl`.
 *
 * The header comes first and tells the number of rows, which is known last: tensors are spooled to one
 * temporary file each and joined at the end.
 */
import path from 'node:path'
import { temporaryName } from '../atomic.js'
import { encodeSafetensorsHeader, type HeaderEntry } from '../safetensors-header.js'
import { openFileSink } from './file-sink.js'
import { openSpool, type Spool } from './spool.js'
import type { FinishedFile, FormatWriter, ShardSpec } from './types.js'

const DTYPES = { float16: 'F16', float32: 'F32', uint8: 'U8', int32: 'I32' } as const
const TORCH = {
  float16: 'torch.float16',
  float32: 'torch.float32',
  uint8: 'torch.uint8',
  int32: 'torch.int32',
} as const

export async function openSafetensorsWriter(spec: ShardSpec, name: string, tmpDir: string): Promise<FormatWriter> {
  const tmp = (what: string): string => temporaryName(path.join(tmpDir, `${name}.${what}`))
  const spools = new Map<string, Spool>()
  for (const column of [...spec.columns.map((c) => c.name), 'labels']) spools.set(column, await openSpool(tmp(column)))
  const keysName = name.replace(/\.safetensors$/, '.keys.jsonl')
  const keys = await openFileSink(tmp('keys'))
  let rows = 0

  return {
    async append(batch) {
      rows += batch.rows.length
      for (const { name: column } of spec.columns) {
        const data = batch.tensors[column]!
        await spools.get(column)!.append(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
      }
      const labels = BigInt64Array.from(batch.rows, (row) => BigInt(row.label ?? -1))
      await spools.get('labels')!.append(new Uint8Array(labels.buffer))
      const lines = batch.rows.map((row) => {
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
        return `${JSON.stringify(meta)}\n`
      })
      await keys.write(Buffer.from(lines.join('')))
    },
    async finish() {
      const entries: HeaderEntry[] = [
        { name: 'labels', dtype: 'I64', shape: [rows] },
        ...spec.columns.map((c) => ({ name: c.name, dtype: DTYPES[c.dtype], shape: [rows, ...c.shape] })),
      ]
      const latents = spec.columns.find((c) => c.name === 'latents')!
      const header = encodeSafetensorsHeader(entries, {
        // As the reference writes them; ours follow.
        total_size: String(rows),
        dtype: TORCH[latents.dtype],
        device: 'cpu',
        ...spec.provenance,
      })
      const out = await openFileSink(tmp('all'))
      try {
        await out.write(header.bytes)
        for (const entry of header.order) {
          const spool = spools.get(entry.name)!
          await spool.copyTo(out)
          await spool.close()
        }
      } catch (error) {
        await out.abort()
        throw error
      }
      const files: FinishedFile[] = [{ name, ...(await out.finish()) }]
      files.push({ name: keysName, ...(await keys.finish()) })
      return files
    },
    async abort() {
      await Promise.allSettled([...[...spools.values()].map((spool) => spool.close()), keys.abort()])
    },
  }
}
