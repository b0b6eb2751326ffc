import { expect, it } from 'vitest'
import type { RowBatch, RowMeta } from '../../types.js'
import { takeFiniteRows } from './finite.js'

const row = (key: string): RowMeta => ({
  key,
  uri: key,
  label: null,
  caption: null,
  width: 1,
  height: 1,
  sha256: new Uint8Array(32),
})

it('rows with a NaN or an infinity are taken out of every column, the others stay in order', () => {
  const batch: RowBatch = {
    rows: ['a', 'b', 'c', 'd'].map(row),
    tensors: {
      latents: Uint16Array.of(0x3c00, 0xfbff, 0x7c00, 0x0000, 0x0001, 0x8000, 0x3c00, 0x3c00), // c's neighbour b holds +inf
      clip: Float32Array.of(1, 2, 3, Number.NaN),
    },
  }
  const columns = [
    { name: 'latents', dtype: 'float16' as const, shape: [2] },
    { name: 'clip', dtype: 'float32' as const, shape: [1] },
  ]
  const { batch: kept, dropped } = takeFiniteRows(batch, columns)
  expect(kept.rows.map((r) => r.key)).toEqual(['a', 'c'])
  expect([...kept.tensors.latents!]).toEqual([0x3c00, 0xfbff, 0x0001, 0x8000])
  expect([...kept.tensors.clip!]).toEqual([1, 3])
  expect(dropped).toEqual([
    { index: 1, column: 'latents' },
    { index: 3, column: 'clip' },
  ])
})

it('a batch of finite rows is passed on as it is', () => {
  const batch: RowBatch = { rows: [row('a')], tensors: { x: Float32Array.of(3.4e38, -3.4e38) } }
  expect(takeFiniteRows(batch, [{ name: 'x', dtype: 'float32', shape: [2] }]).batch).toBe(batch)
})
