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

it('one value that is not finite is found wherever it stands, and none where there is none', () => {
  const notFinite = { float16: [0x7c00, 0xfc00, 0x7e01], float32: [0x7f800000, 0xff800000, 0x7fc00001] }
  const finite = { float16: [0x7bff, 0x83ff, 0x8000], float32: [0x7f7fffff, 0x807fffff, 0x80000000] }
  for (const dtype of ['float16', 'float32'] as const)
    for (const size of [1, 2, 5, 7, 8])
      for (const skip of [0, 1]) {
        // Rows of odd length, and arrays that begin in the middle of a word.
        const bits = dtype === 'float16' ? new Uint16Array(3 * size + skip) : new Uint32Array(3 * size + skip)
        bits.forEach((_, i) => {
          bits[i] = finite[dtype][i % 3]!
        })
        const view = bits.subarray(skip)
        const data = view instanceof Uint16Array ? view : new Float32Array(view.buffer, view.byteOffset, view.length)
        const dropped = (): number[] =>
          takeFiniteRows({ rows: [row('a'), row('b'), row('c')], tensors: { x: data } }, [
            { name: 'x', dtype, shape: [size] },
          ]).dropped.map(({ index }) => index)
        expect(dropped()).toEqual([])
        for (let at = 0; at < 3 * size; at++) {
          const before = view[at]!
          view[at] = notFinite[dtype][at % 3]!
          expect(dropped()).toEqual([Math.floor(at / size)])
          view[at] = before
        }
      }
})

it('a batch of finite rows is passed on as it is', () => {
  const batch: RowBatch = { rows: [row('a')], tensors: { x: Float32Array.of(3.4e38, -3.4e38) } }
  expect(takeFiniteRows(batch, [{ name: 'x', dtype: 'float32', shape: [2] }]).batch).toBe(batch)
})
