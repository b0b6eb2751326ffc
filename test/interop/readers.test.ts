/**
 * Other programs read what we write: pyarrow, pandas, DuckDB, polars, Hugging Face datasets, and LightningDiT's
 * loader (with numpy in torch's place). readers.py tells what they see, by hashes of the values: every bit has to agree.
 */
import { createHash, type Hash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FORMATS, openShard, openShardWriter, type ShardFormat } from '../../src/io/shards/index.js'
import { columnSize, emptyTensor } from '../../src/io/shards/rebatch.js'
import { encodeLatentsStats } from '../../src/io/torch-stats.js'
import { type Moments, mergeMoments, momentsToStats } from '../../src/math/moments.js'
import { datasetCard } from '../../src/pipeline/ledger/dataset-card.js'
import { DATASET_CARD } from '../../src/pipeline/ledger/layout.js'
import type { RowBatch, RowMeta, TensorColumn } from '../../src/types.js'
import { repoRoot, runCli } from '../support/cli.js'
import { interopPython, runPython } from './python.js'

/** What a reader saw, or should see. */
interface View {
  rows: Record<string, unknown>[]
  tensors: Record<string, { dtype: string; shape: number[]; sha256: string }>
}
type Readers = Record<string, View & Record<string, unknown>>

const shared = mkdtempSync(path.join(tmpdir(), 'vtp interop '))
let python: string

beforeAll(async () => {
  python = await interopPython()
}, 600_000)
afterAll(() => rmSync(shared, { recursive: true, force: true }))

async function readersOf(dests: string[]): Promise<Record<string, Readers>> {
  return JSON.parse(await runPython(python, 'readers.py', dests)) as Record<string, Readers>
}

/** Adds batches up to what readers should see. */
function createView(columns: TensorColumn[], captions: boolean): { add(batch: RowBatch): void; view(): View } {
  const rows: View['rows'] = []
  const hashes = new Map<string, Hash>(columns.map((column) => [column.name, createHash('sha256')]))
  return {
    add(batch) {
      for (const { caption, sha256, ...row } of batch.rows)
        rows.push({ ...row, ...(captions ? { caption } : {}), sha256: Buffer.from(sha256).toString('hex') })
      for (const [name, hash] of hashes) {
        const { buffer, byteOffset, byteLength } = batch.tensors[name]!
        hash.update(new Uint8Array(buffer, byteOffset, byteLength))
      }
    },
    view() {
      const tensors = columns.map(({ name, dtype, shape }) => {
        return [name, { dtype, shape: [rows.length, ...shape], sha256: hashes.get(name)!.digest('hex') }]
      })
      return { rows, tensors: Object.fromEntries(tensors) }
    },
  }
}

/** The same for readers that know lists, not tensors: [rows, values]. */
function flattened(tensors: View['tensors']): View['tensors'] {
  const flat = Object.entries(tensors).map(([name, { shape, ...rest }]) => {
    const [rows = 0, ...row] = shape
    return [name, { ...rest, shape: [rows, row.reduce((a, b) => a * b, 1)] }]
  })
  return Object.fromEntries(flat)
}

function only(tensors: View['tensors'], names: string[]): View['tensors'] {
  return Object.fromEntries(Object.entries(tensors).filter(([name]) => names.includes(name)))
}

/** Everything that the readers of a format have to agree on. */
function expectReaders(format: ShardFormat, seen: Readers, columns: TensorColumn[], { rows, tensors }: View): void {
  const labels = rows.map((row) => row.label ?? -1)
  if (format === 'safetensors') {
    expect(seen.safetensors).toMatchObject({ rows, tensors, labels })
    expect(seen.lightningdit).toMatchObject({ rows: rows.length, labels })
    expect(seen.lightningdit!.tensors).toEqual(only(tensors, ['latents', 'latents_flip']))
    return
  }
  expect(seen.pyarrow).toMatchObject({ rows, tensors })
  if (format === 'arrow') return
  const flat = flattened(tensors)
  const listOf = (element: (column: TensorColumn) => string): Record<string, string> =>
    Object.fromEntries(columns.map((column) => [column.name, element(column)]))
  expect(seen.duckdb).toEqual({
    rows,
    tensors: flat,
    types: listOf(({ dtype }) => (dtype === 'uint8' ? 'UTINYINT[]' : 'FLOAT[]')),
  })
  expect(seen.datasets).toEqual({
    rows,
    tensors: flat,
    features: listOf((column) => `List(Value('${column.dtype}'), length=${columnSize(column)})`),
  })
}

interface Dataset {
  columns: TensorColumn[]
  captions: boolean
  /** The rows of each shard. */
  shards: RowMeta[][]
  seed: number
}

const PROVENANCE = { 'vtp.model': 'vtp-nano', 'vtp.transform': 'resize(256,256,bilinear)', 'vtp.note': 'ünïcode "✓"' }

const text = fc.string({ unit: 'binary', maxLength: 12 })
const rowMeta: fc.Arbitrary<RowMeta> = fc.record({
  key: text,
  uri: text,
  label: fc.option(fc.integer({ min: 0, max: 2 ** 31 - 1 })),
  caption: fc.option(text),
  width: fc.integer({ min: 1, max: 100_000 }),
  height: fc.integer({ min: 1, max: 100_000 }),
  sha256: fc.uint8Array({ minLength: 32, maxLength: 32 }),
})
const side = fc.integer({ min: 1, max: 9 })
const column = (name: string, shape: fc.Arbitrary<number[]>): fc.Arbitrary<TensorColumn> =>
  fc.record({ name: fc.constant(name), dtype: fc.constantFrom('float16', 'float32', 'uint8'), shape })
const anyDataset: fc.Arbitrary<Dataset> = fc.record({
  columns: fc.tuple(
    fc.record({
      name: fc.constant('latents'),
      dtype: fc.constantFrom('float16', 'float32'),
      shape: fc.tuple(side, side, side),
    }),
    column('layer_3_cls', fc.tuple(side)),
    column('patches', fc.tuple(side, side)),
    column('pixels', fc.tuple(side, side, side)),
  ),
  captions: fc.boolean(),
  shards: fc
    .array(fc.array(rowMeta, { maxLength: 20 }), { minLength: 1, maxLength: 3 })
    .filter((shards) => shards.some((rows) => rows.length > 0)),
  seed: fc.integer(),
})

/** Several row groups and record batches of real size, and a shard without a row between others. */
const LARGE: Dataset = {
  columns: [
    { name: 'latents', dtype: 'float16', shape: [64, 16, 16] },
    { name: 'clip', dtype: 'float32', shape: [5] },
    { name: 'pixels', dtype: 'uint8', shape: [3, 5, 3] },
    { name: 'latents_flip', dtype: 'float16', shape: [64, 16, 16] },
  ],
  captions: true,
  shards: [700, 0, 3].map((rows) => fc.sample(rowMeta, { numRuns: Math.max(rows, 1), seed: rows }).slice(0, rows)),
  seed: 1,
}
const [first] = LARGE.shards[2]!
const ONE_ROW_WITHOUT_LABEL: Dataset = { ...LARGE, captions: false, shards: [[{ ...first!, label: null }]] }

/** Any finite values of the column's type, subnormal ones and negative zeros among them. */
function fill(column: TensorColumn, rows: number, seed: number): RowBatch['tensors'][string] {
  const data = emptyTensor(column, rows)
  const bits = column.dtype === 'float32' ? new Uint32Array(data.buffer) : data
  // Infinities and NaNs have all bits of the exponent set: the lowest one is taken away from them.
  const [exponent, lowest] = {
    float32: [0x7f800000, 0x00800000],
    float16: [0x7c00, 0x0400],
    uint8: [256, 0],
    int32: [0, 0],
  }[column.dtype] as [number, number]
  let state = seed | 1
  for (let i = 0; i < bits.length; i++) {
    // xorshift32
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    const value =
      column.dtype === 'float32' ? state >>> 0 : (state >>> 8) & (column.dtype === 'float16' ? 0xffff : 0xff)
    bits[i] = (value & exponent) === exponent ? value - lowest : value
  }
  return data
}

/** Writes a dataset as a run would leave it; returns what readers should see. */
async function writeDataset(dest: string, format: ShardFormat, dataset: Dataset): Promise<View> {
  const { columns, captions, shards, seed } = dataset
  mkdirSync(dest, { recursive: true })
  const expected = createView(columns, captions)
  let moments: Moments = { count: 0, mean: [], m2: [] }
  for (const [unit, rows] of shards.entries()) {
    const writer = await openShardWriter({ format, columns, captions, provenance: PROVENANCE }, unit, dest)
    const tensors = Object.fromEntries(columns.map((c, i) => [c.name, fill(c, rows.length, seed + 31 * unit + i)]))
    const batch = { rows, tensors }
    if (rows.length > 0) await writer.append(batch)
    expected.add(batch)
    const { files, moments: ofShard } = await writer.finish()
    for (const file of files) renameSync(file.path, path.join(dest, file.name))
    if (ofShard) moments = mergeMoments(moments, ofShard)
  }
  if (format !== 'safetensors') {
    writeFileSync(path.join(dest, DATASET_CARD), datasetCard({ format, columns, source: { captions }, classes: null }))
  }
  if (format === 'safetensors' && moments.count > 1) {
    const { mean, std } = momentsToStats(moments)
    writeFileSync(path.join(dest, 'latents_stats.pt'), encodeLatentsStats(mean, std))
  }
  return expected.view()
}

const DATASETS: [string, Dataset][] = [
  ['several row groups, and a shard without rows', LARGE],
  ['one row without a label', ONE_ROW_WITHOUT_LABEL],
  ...fc.sample(anyDataset, { numRuns: 10, seed: 20261 }).map((any, i): [string, Dataset] => [`random ${i}`, any]),
]

describe('shards straight from the writers', () => {
  const views = new Map<string, View>()
  let seen: Record<string, Readers>
  const destOf = (format: ShardFormat, name: string): string => path.join(shared, 'written', format, name)

  beforeAll(async () => {
    for (const format of FORMATS) {
      for (const [name, dataset] of DATASETS) {
        const dest = destOf(format, name)
        views.set(dest, await writeDataset(dest, format, dataset))
      }
    }
    seen = await readersOf([...views.keys()])
  }, 300_000)

  describe.each(FORMATS)('%s', (format) => {
    it.each(DATASETS)('has the same rows and values in every reader: %s', (name, dataset) => {
      const dest = destOf(format, name)
      const view = views.get(dest)!
      const readers = seen[dest]!
      expectReaders(format, readers, dataset.columns, view)
      if (format !== 'safetensors') {
        expect(readers.pyarrow!.metadata).toEqual(PROVENANCE)
        return
      }
      const dtype = `torch.${dataset.columns[0]!.dtype}`
      expect(readers.safetensors!.metadata).toEqual(
        dataset.shards.map((rows) => ({ ...PROVENANCE, total_size: String(rows.length), dtype, device: 'cpu' })),
      )
    })
  })
})

describe('what a run leaves', () => {
  const destOf = (format: ShardFormat): string => path.join(shared, 'runs', format)
  let seen: Record<string, Readers>

  beforeAll(async () => {
    const source = path.join(repoRoot, 'fixtures', 'images')
    for (const format of FORMATS) {
      const settings = ['--format', format, '--outputs', 'latents,clip,pixels', '--flip', '--shard-rows', '5']
      const run = await runCli(['encode', source, '--out', destOf(format), ...settings])
      expect(run.code, run.stderr).toBe(0)
    }
    seen = await readersOf(FORMATS.map(destOf))
  }, 300_000)

  it.each(FORMATS)('is read alike by every reader of %s, and the manifest tells the truth', async (format) => {
    const dest = destOf(format)
    const names = readdirSync(dest).filter((name) => name.endsWith(`.${format}`))
    expect(names).toHaveLength(3)
    const shards = await Promise.all(names.sort().map((name) => openShard(path.join(dest, name))))
    const { columns } = shards[0]!
    expect(columns.map((c) => c.name)).toEqual(
      expect.arrayContaining(['latents', 'latents_flip', 'clip', 'clip_flip', 'pixels', 'pixels_flip']),
    )
    const expected = createView(columns, false)
    for (const shard of shards) {
      for await (const batch of shard.read(
        columns.map((c) => c.name),
        64,
      ))
        expected.add(batch)
      await shard.close()
    }
    const view = expected.view()
    expect(view.rows).toHaveLength(13)
    expectReaders(format, seen[dest]!, columns, view)
    if (format === 'safetensors') return
    const { metadata } = seen[dest]!.pyarrow as { metadata?: Record<string, string> }
    const { label } = JSON.parse(metadata!.huggingface!).info.features
    expect(label).toEqual({ _type: 'ClassLabel', names: ['people and animals', 'textures and sky', 'things'] })
  })

  it.each(['docs/python.md', 'README.md'])(
    'is opened by the Python of %s, which prints what the page says',
    async (page) => {
      const names = { latents: 'arrow', features: 'parquet' } as const
      const folder = mkdtempSync(path.join(shared, 'page '))
      for (const [name, format] of Object.entries(names)) symlinkSync(destOf(format), path.join(folder, name))
      const printed = await runPython(python, 'page.py', [path.join(repoRoot, page), folder])
      const blocks = JSON.parse(printed) as { code: string; printed: string; says: string }[]
      expect(blocks).not.toEqual([])
      for (const { code, printed, says } of blocks) expect(printed, code).toBe(says)
    },
  )

  it('has statistics for LightningDiT', () => {
    expect(seen[destOf('safetensors')]!.lightningdit!.stats).toMatchObject({
      mean: expect.objectContaining({ length: 64 }),
      std: expect.objectContaining({ length: 64 }),
    })
  })
})
