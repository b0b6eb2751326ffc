/**
 * The shard writers: MB per second of processor time, that is per core, of each format. Counted is what the writer's
 * thread does with a batch: the search for values that are not finite, the channels' moments, the encoding, SHA-256 and
 * the writing; waiting for the disk is not. With a Python, next to what pyarrow and safetensors take for the same
 * tensors, with SHA-256 and without moments.
 *
 *   npx tsx bench/writer.ts [--megabytes 128] [--rounds 5] [--out DIR] [--python PYTHON] [--formats arrow,safetensors]
 *
 * PYTHON needs numpy, pyarrow and safetensors.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { FORMATS, openShardWriter, type ShardFormat } from '../src/io/shards/index.js'
import { columnSize, emptyTensor, tensorBytes } from '../src/io/shards/rebatch.js'
import { float32ToFloat16 } from '../src/math/half.js'
import { createRandom } from '../src/math/random.js'
import { takeFiniteRows } from '../src/pipeline/stream/finite.js'
import type { RowBatch, TensorColumn } from '../src/types.js'
import { interleave, median, printTable } from './support/measure.js'

const { values } = parseArgs({
  options: {
    megabytes: { type: 'string', default: '128' },
    rounds: { type: 'string', default: '5' },
    formats: { type: 'string', default: FORMATS.join(',') },
    out: { type: 'string' },
    python: { type: 'string' },
  },
})
const BATCH = 16
const scratch = mkdtempSync(path.join(values.out ?? tmpdir(), 'vtp-writer-'))

const latents = (dtype: 'float16' | 'float32'): TensorColumn => ({ name: 'latents', dtype, shape: [64, 16, 16] })
const SHARDS: Record<string, TensorColumn[]> = {
  'latents float16': [latents('float16')],
  'latents float32': [latents('float32')],
  'latents and patches float16': [latents('float16'), { name: 'patches', dtype: 'float16', shape: [256, 1024] }],
}
const rowsOf = (columns: TensorColumn[]): number =>
  BATCH * Math.max(1, Math.round((Number(values.megabytes) * 1e6) / tensorBytes(columns) / BATCH))

/** Standard normals, as latents are. */
function batchOf(columns: TensorColumn[], start: number): RowBatch {
  const random = createRandom(start + 1)
  const normals = Float32Array.from({ length: 4096 }, () => random.normal())
  const halves = float32ToFloat16(normals)
  const tensors = columns.map((column) => {
    const data = emptyTensor(column, BATCH)
    const from = column.dtype === 'float16' ? halves : normals
    for (let at = 0; at < BATCH * columnSize(column); at += from.length) data.set(from, at)
    return [column.name, data]
  })
  const meta = { label: 1, caption: null, width: 500, height: 375, sha256: new Uint8Array(32) }
  const rows = Array.from({ length: BATCH }, (_, i) => ({
    ...meta,
    key: `a/${start + i}.jpg`,
    uri: `/data/a/${start + i}.jpg`,
  }))
  return { rows, tensors: Object.fromEntries(tensors) }
}

let runs = 0
async function write(format: ShardFormat, columns: TensorColumn[]): Promise<number> {
  const rows = rowsOf(columns)
  const batches = Array.from({ length: rows / BATCH }, (_, i) => batchOf(columns, i * BATCH))
  const before = process.cpuUsage()
  const spec = { format, columns, captions: false, provenance: {} }
  const writer = await openShardWriter(spec, runs++, scratch, rows)
  for (const batch of batches) await writer.append(takeFiniteRows(batch, columns).batch)
  const { files } = await writer.finish()
  const { user, system } = process.cpuUsage(before)
  for (const file of files) rmSync(file.path)
  return files.reduce((sum, file) => sum + file.bytes, 0) / (user + system)
}

function writeInPython(python: string, format: ShardFormat, columns: TensorColumn[]): number {
  const script = fileURLToPath(new URL('./support/writer.py', import.meta.url))
  const args = [script, format, scratch, String(rowsOf(columns)), JSON.stringify(columns)]
  return Number(execFileSync(python, args, { encoding: 'utf8' }))
}

const PEERS = { arrow: 'pyarrow', parquet: 'pyarrow', safetensors: 'safetensors' } as const
const contenders: Record<string, () => Promise<number>> = {}
for (const format of FORMATS.filter((name) => values.formats.split(',').includes(name)))
  for (const [what, columns] of Object.entries(SHARDS)) {
    contenders[`${format}, ${what}`] = () => write(format, columns)
    const { python } = values
    if (python)
      contenders[`  the same by ${PEERS[format]}: ${format}, ${what}`] = async () =>
        writeInPython(python, format, columns)
  }
// What is measured is a long run, whose code is compiled.
for (const [name, run] of Object.entries(contenders)) if (!name.includes('the same by')) await run()
const results = await interleave(Number(values.rounds), contenders)
printTable(
  `shards of about ${values.megabytes} MB, MB per second of processor time; medians of ${values.rounds} rounds`,
  Object.entries(results).map(([name, list]) => [name, `${median(list).toFixed(0)} MB/s`]),
)
rmSync(scratch, { recursive: true, force: true })
