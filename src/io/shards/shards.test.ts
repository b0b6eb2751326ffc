import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import { VtpError } from '../../errors.js'
import type { RowBatch, RowMeta, TensorColumn } from '../../types.js'
import { openSafetensors } from '../safetensors.js'
import { FORMATS, openShard, openShardWriter, type ShardFiles, type ShardSpec } from './index.js'
import { columnSize, emptyTensor } from './rebatch.js'

const COLUMNS: TensorColumn[] = [
  { name: 'latents', dtype: 'float16', shape: [4, 2, 2] },
  { name: 'clip', dtype: 'float32', shape: [5] },
  { name: 'codes', dtype: 'int32', shape: [2, 3] },
  { name: 'pixels', dtype: 'uint8', shape: [3, 2, 3] },
]
const spec = (format: ShardSpec['format'], captions = true): ShardSpec => ({
  format,
  columns: COLUMNS,
  captions,
  provenance: { 'vtp.transform': 'adm-crop(256)', 'vtp.model': 'ünï' },
})

/** Rows with every odd thing that metadata can hold. */
function makeRows(count: number): RowBatch {
  const rows: RowMeta[] = Array.from({ length: count }, (_, i) => ({
    key: `k${i} \n"ä"`,
    uri: `/data/${i}`,
    label: i % 3 === 0 ? null : i,
    caption: i % 2 === 0 ? `caption ${i}` : null,
    width: 100 + i,
    height: 200 + i,
    sha256: createHash('sha256').update(String(i)).digest(),
  }))
  const tensors: RowBatch['tensors'] = {}
  for (const column of COLUMNS) {
    const data = emptyTensor(column, count)
    for (let i = 0; i < data.length; i++)
      data[i] = column.dtype === 'float32' ? i / 7 : (i * 31) % (column.dtype === 'uint8' ? 256 : 0x7000)
    tensors[column.name] = data
  }
  return { rows, tensors }
}

async function write(
  format: ShardSpec['format'],
  count: number,
  cuts: number[],
  expectedRows?: number,
): Promise<{ files: ShardFiles; all: RowBatch }> {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp-shard-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  const writer = await openShardWriter(spec(format), 3, dir, expectedRows)
  const all = makeRows(count)
  let from = 0
  for (const cut of [...cuts, count]) {
    const to = Math.max(from, Math.min(cut, count))
    const tensors = Object.fromEntries(
      COLUMNS.map((c) => [c.name, all.tensors[c.name]!.slice(from * columnSize(c), to * columnSize(c))]),
    )
    await writer.append({ rows: all.rows.slice(from, to), tensors })
    from = to
  }
  const files = await writer.finish()
  // Readers look at the extension and at the sidecar: give the files their names.
  for (const file of files.files) {
    await rename(file.path, path.join(dir, file.name))
    file.path = path.join(dir, file.name)
  }
  return { files, all }
}

describe.each(FORMATS)('%s', (format) => {
  it('gives back what was written, and its checksums are true', async () => {
    const { files, all } = await write(format, 23, [7, 8, 20])
    expect(files.rows).toBe(23)
    for (const file of files.files) {
      const bytes = await readFile(file.path)
      expect(bytes.length).toBe(file.bytes)
      expect(createHash('sha256').update(bytes).digest('hex')).toBe(file.sha256)
    }
    const shard = await openShard(files.files[0]!.path)
    expect(shard.rows).toBe(23)
    expect(shard.columns.map((c) => c.name).sort()).toEqual(COLUMNS.map((c) => c.name).sort())
    expect(shard.provenance['vtp.model']).toBe('ünï')
    const rows: RowMeta[] = []
    const values: Record<string, number[]> = { latents: [], clip: [], codes: [], pixels: [] }
    for await (const batch of shard.read(Object.keys(values), 5)) {
      expect(batch.rows.length).toBeLessThanOrEqual(5)
      rows.push(...batch.rows)
      for (const name of Object.keys(values)) values[name]!.push(...batch.tensors[name]!)
    }
    await shard.close()
    expect(rows.map((r) => ({ ...r, sha256: Buffer.from(r.sha256).toString('hex') }))).toEqual(
      all.rows.map((r) => ({ ...r, sha256: Buffer.from(r.sha256).toString('hex') })),
    )
    for (const name of Object.keys(values)) expect(values[name]).toEqual([...all.tensors[name]!])
  })

  it('has the same bytes however its rows were batched', async () => {
    const whole = await write(format, 30, [])
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 5 }), async (cuts) => {
        const pieces = await write(
          format,
          30,
          cuts.sort((a, b) => a - b),
        )
        expect(pieces.files.files.map((f) => f.sha256)).toEqual(whole.files.files.map((f) => f.sha256))
        expect(pieces.files.moments).toEqual(whole.files.moments)
      }),
      { numRuns: 5 },
    )
  })

  it('has the same bytes whether or not its rows were expected, and when fewer have come', async () => {
    const plain = await write(format, 7, [3])
    for (const expected of [7, 8, 1000]) {
      const { files } = (await write(format, 7, [3], expected)).files
      const inBrief = ({ name, bytes, sha256 }: (typeof files)[number]) => ({ name, bytes, sha256 })
      expect(files.map(inBrief)).toEqual(plain.files.files.map(inBrief))
      for (const { path: file, sha256 } of files)
        expect(
          createHash('sha256')
            .update(await readFile(file))
            .digest('hex'),
        ).toBe(sha256)
      expect(await readdir(path.dirname(files[0]!.path))).toHaveLength(files.length)
    }
  })

  it('can be empty', async () => {
    const { files } = await write(format, 0, [])
    const shard = await openShard(files.files[0]!.path)
    expect(shard.rows).toBe(0)
    await shard.close()
  })

  it('leaves nothing behind when it is aborted', async () => {
    const dir = await mkdtemp(path.join(tmpdir(), 'vtp-shard-'))
    onTestFinished(() => rm(dir, { recursive: true, force: true }))
    for (const expected of [undefined, 3]) {
      const writer = await openShardWriter(spec(format), 0, dir, expected)
      await writer.append(makeRows(3))
      await writer.abort()
      expect(await readdir(dir)).toEqual([])
    }
  })
})

describe.each([
  ['arrow', 100],
  ['safetensors', 100],
  // Each panic of the reader costs a thread.
  ['parquet', 25],
] as const)('a damaged or cut off %s shard', (format, numRuns) => {
  it('is an error of its own or gives all its rows, and the next shard is read as ever', async () => {
    const { files } = await write(format, 9, [])
    const [file] = files.files
    const sound = await readFile(file!.path)
    const other = path.join(path.dirname(file!.path), `other.${format}`)
    const columns = COLUMNS.map((c) => c.name)
    const rowsOf = async (name: string): Promise<number> => {
      const shard = await openShard(name)
      try {
        let rows = 0
        for await (const batch of shard.read(columns, 4)) {
          rows += batch.rows.length
          for (const column of COLUMNS)
            expect(batch.tensors[column.name]!.length).toBe(batch.rows.length * columnSize(column))
        }
        return rows
      } finally {
        await shard.close()
      }
    }
    const spot = fc.oneof(
      fc.integer({ min: 0, max: sound.length - 1 }),
      // Where the footer lies: what a reader believes.
      fc.integer({ min: sound.length - 2000, max: sound.length - 1 }),
    )
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.array(fc.tuple(spot, fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 4 }),
          fc.integer({ min: 0, max: sound.length - 1 }),
        ),
        async (damage) => {
          const bytes = Buffer.from(typeof damage === 'number' ? sound.subarray(0, damage) : sound)
          if (typeof damage !== 'number') for (const [at, value] of damage) bytes[Math.max(0, at)] = value
          await writeFile(other, bytes)
          const result = await rowsOf(other).catch((error: unknown) => error)
          if (typeof result !== 'number') expect(result).toBeInstanceOf(VtpError)
        },
      ),
      { numRuns },
    )
    expect(await rowsOf(file!.path)).toBe(9)
  })
})

it('safetensors shards have the layout of LightningDiT', async () => {
  const { files } = await write('safetensors', 4, [])
  expect(files.files.map((f) => f.name)).toEqual([
    'latents_rank00_shard003.safetensors',
    'latents_rank00_shard003.keys.jsonl',
  ])
  const file = await openSafetensors(files.files[0]!.path)
  expect(file.metadata).toMatchObject({ total_size: '4', dtype: 'torch.float16', device: 'cpu' })
  expect(file.tensors.get('labels')).toMatchObject({ dtype: 'I64', shape: [4] })
  const labels = new BigInt64Array((await file.readBytes('labels')).slice().buffer)
  expect([...labels]).toEqual([-1n, 1n, 2n, -1n])
  await file.close()
})

it('embeddings for clip-retrieval have the same bytes whether or not their rows were expected', async () => {
  const columns: TensorColumn[] = [{ name: 'clip', dtype: 'float16', shape: [5] }]
  const digests: string[][] = []
  for (const expected of [undefined, 4, 1000]) {
    const dir = await mkdtemp(path.join(tmpdir(), 'vtp-shard-'))
    onTestFinished(() => rm(dir, { recursive: true, force: true }))
    const writer = await openShardWriter({ ...spec('npy'), columns }, 0, dir, expected)
    await writer.append({ rows: makeRows(4).rows, tensors: { clip: Uint16Array.from({ length: 20 }, (_, i) => i) } })
    const { files } = await writer.finish()
    digests.push(files.map(({ sha256 }) => sha256))
    expect(await readdir(dir)).toHaveLength(files.length)
  }
  expect(digests[1]).toEqual(digests[0])
  expect(digests[2]).toEqual(digests[0])
})
