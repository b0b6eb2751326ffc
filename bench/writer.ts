/**
 * The shard writers: MB per second of processor time, that is per core, of each format; hashing included, waiting
 * for the disk not.
 *
 *   npx tsx bench/writer.ts [--rows 2000] [--rounds 5] [--out DIR]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { FORMATS, openShardWriter, type ShardFormat } from '../src/io/shards/index.js'
import type { RowBatch, TensorColumn } from '../src/types.js'
import { interleave, median, printTable } from './support/measure.js'

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '2000' },
    rounds: { type: 'string', default: '5' },
    out: { type: 'string' },
  },
})
const rows = Number(values.rows)
const BATCH = 16
const scratch = mkdtempSync(path.join(values.out ?? tmpdir(), 'vtp-writer-'))

function batchOf(column: TensorColumn, start: number): RowBatch {
  const size = column.shape.reduce((a, b) => a * b, 1) * BATCH
  const data = column.dtype === 'float32' ? new Float32Array(size) : new Uint16Array(size)
  for (let i = 0; i < size; i++)
    data[i] = column.dtype === 'float32' ? Math.sin(i + start) : (i * 40503 + start) & 0x3bff
  const meta = { label: 1, caption: null, width: 500, height: 375, sha256: new Uint8Array(32) }
  const list = Array.from({ length: BATCH }, (_, i) => ({
    ...meta,
    key: `a/${start + i}.jpg`,
    uri: `/data/a/${start + i}.jpg`,
  }))
  return { rows: list, tensors: { latents: data } }
}

let runs = 0
function write(format: ShardFormat, dtype: 'float16' | 'float32') {
  const columns: TensorColumn[] = [{ name: 'latents', dtype, shape: [64, 16, 16] }]
  const batches = Array.from({ length: Math.ceil(rows / BATCH) }, (_, i) => batchOf(columns[0]!, i * BATCH))
  return async (): Promise<number> => {
    const spec = { format, columns, captions: false, provenance: {} }
    const before = process.cpuUsage()
    const writer = await openShardWriter(spec, runs++, scratch)
    for (const batch of batches) await writer.append(batch)
    const { files } = await writer.finish()
    const { user, system } = process.cpuUsage(before)
    const seconds = (user + system) / 1e6
    for (const file of files) rmSync(file.path)
    return files.reduce((sum, file) => sum + file.bytes, 0) / 1e6 / seconds
  }
}

const contenders: Record<string, () => Promise<number>> = {}
for (const format of FORMATS)
  for (const dtype of ['float16', 'float32'] as const) contenders[`${format} ${dtype}`] = write(format, dtype)
const results = await interleave(Number(values.rounds), contenders)
printTable(
  `shards of ${rows} rows of latents [64, 16, 16], per core; medians of ${values.rounds} rounds`,
  Object.entries(results).map(([name, list]) => {
    const bytes = 64 * 16 * 16 * (name.endsWith('16') ? 2 : 4)
    return [name, `${median(list).toFixed(0)} MB/s, ${((median(list) * 1e6) / bytes).toFixed(0)} images/s`]
  }),
)
rmSync(scratch, { recursive: true, force: true })
