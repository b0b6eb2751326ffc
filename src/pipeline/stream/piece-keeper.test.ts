import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { expect, it, onTestFinished } from 'vitest'
import { openLocalStore } from '../../io/local-store.js'
import { emptyTensor } from '../../io/shards/rebatch.js'
import type { RowBatch, RowMeta, TensorColumn } from '../../types.js'
import { choosePieces, listPieces, type PieceRef, readPiece, removePieces } from '../ledger/pieces.js'
import { createPieceKeeper, type FinishedPiece } from './piece-keeper.js'

const COLUMNS: TensorColumn[] = [
  { name: 'latents', dtype: 'float16', shape: [2, 3] },
  { name: 'clip', dtype: 'float32', shape: [5] },
  { name: 'pixels', dtype: 'uint8', shape: [3] },
]
const SEAL = { plan: 'plan', processor: 'x64 avx2' }

async function openTemp() {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp-pieces-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  const store = openLocalStore(dir)
  return { store, tmpDir: await store.tempDir() }
}

const row = (i: number): RowMeta => ({
  key: `ключ "${i}" \ud800`,
  uri: `/p/${i}`,
  label: i % 3 === 0 ? null : i,
  caption: i % 2 === 0 ? null : 'a\nb',
  width: i + 1,
  height: 2,
  sha256: new Uint8Array(32).fill(i),
})

/** Rows of the entries from `start` on; every fourth entry is a reject. */
function batchAt(start: number, end: number): { batch: RowBatch; rejects: { position: number; reject: never }[] } {
  const positions = Array.from({ length: end - start }, (_, i) => start + i)
  const rows = positions.filter((i) => i % 4 !== 3)
  const tensors = Object.fromEntries(
    COLUMNS.map((column) => {
      const data = emptyTensor(column, rows.length)
      const size = data.length / Math.max(rows.length, 1)
      for (const [i, at] of rows.entries()) data.fill(at, i * size, (i + 1) * size)
      return [column.name, data]
    }),
  )
  const reject = (i: number) => ({ key: `k${i}`, uri: 'u', stage: 'decode', code: 'corrupt', message: 'm' }) as never
  const rejects = positions.filter((i) => i % 4 === 3).map((position) => ({ position, reject: reject(position) }))
  return { batch: { rows: rows.map(row), tensors }, rejects }
}

it('what is kept comes back as it was: rows, tensors, rejects, in one piece for all that is held', async () => {
  const { store, tmpDir } = await openTemp()
  const keeper = createPieceKeeper({ everySeconds: 3600, seal: SEAL }, COLUMNS, tmpDir)
  keeper.open(7)
  for (const [start, end] of [
    [0, 5],
    [5, 6],
    [6, 9],
  ] as const)
    expect(await keeper.add({ start, end, ...batchAt(start, end) })).toEqual([])
  const piece = (await keeper.take())!
  expect(await keeper.take()).toBeUndefined()
  await store.putFile(piece.name, piece.path, { ifAbsent: true })
  const [found] = await listPieces(store, 7)
  expect(found).toMatchObject({ start: 0, end: 9 })
  expect(await readPiece(store, found!, SEAL, COLUMNS)).toEqual({ start: 0, end: 9, ...batchAt(0, 9) })
  // Of another plan, another processor, other columns: not taken up.
  expect(await readPiece(store, found!, { ...SEAL, plan: 'other' }, COLUMNS)).toBeUndefined()
  expect(await readPiece(store, found!, { ...SEAL, processor: 'arm64' }, COLUMNS)).toBeUndefined()
  expect(await readPiece(store, found!, SEAL, [{ ...COLUMNS[0]!, shape: [7] }])).toBeUndefined()
  expect(await readPiece(store, { ...found!, end: 8 }, SEAL, COLUMNS)).toBeUndefined()
  await writeFile(path.join(store.uri, found!.name), 'cut off')
  expect(await readPiece(store, found!, SEAL, COLUMNS)).toBeUndefined()
  expect(await removePieces(store, (unit) => unit === 6)).toEqual([])
  expect(await removePieces(store, (unit) => unit === 7)).toEqual([found!.name])
})

it('a piece ends where another one begins that was taken up', async () => {
  const { tmpDir } = await openTemp()
  const keeper = createPieceKeeper({ everySeconds: 3600, seal: SEAL }, COLUMNS, tmpDir)
  keeper.open(0)
  await keeper.add({ start: 0, end: 2, ...batchAt(0, 2) })
  const pieces = await keeper.add({ start: 6, end: 8, ...batchAt(6, 8) })
  expect(pieces.map(({ name }) => name.slice(0, 29))).toEqual(['_vtp/pieces/00000.00000-00002'])
})

it('pieces cost at most a small share of the time: beyond it what is held is let go, and the next one is due later', async () => {
  const { tmpDir } = await openTemp()
  let clock = 0
  // Every look at the clock takes a second, so that each piece seems to take one.
  const keeper = createPieceKeeper({ everySeconds: 10, seal: SEAL }, COLUMNS, tmpDir, () => clock++)
  keeper.open(0)
  const made: FinishedPiece[] = []
  const looks = 400
  for (let i = 0; i < looks; i++) made.push(...(await keeper.add({ start: i, end: i + 1, ...batchAt(i, i + 1) })))
  expect(made.length).toBeGreaterThan(0)
  expect(made.length).toBeLessThanOrEqual(1 + clock * 0.01)
})

it('chosen pieces are in order and never overlap; as long as possible from where the last one ends', () => {
  const ref = fc
    .tuple(fc.nat({ max: 30 }), fc.integer({ min: 1, max: 12 }))
    .map(([start, size]): PieceRef => ({ name: '', sha256: '', start, end: start + size }))
  fc.assert(
    fc.property(fc.array(ref, { maxLength: 12 }), (pieces) => {
      const chosen = choosePieces(pieces)
      let at = 0
      for (const { start, end } of chosen) {
        expect(start).toBeGreaterThanOrEqual(at)
        at = end
      }
      // A unit whose pieces follow one another without a gap is covered as far as the first ones reach.
      const first = pieces.filter(({ start }) => start === 0).map(({ end }) => end)
      if (first.length > 0) expect(chosen[0]).toMatchObject({ start: 0, end: Math.max(...first) })
    }),
  )
})
