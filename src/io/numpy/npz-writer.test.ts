import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { openNpz } from './npz.js'
import { writeNpz } from './npz-writer.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp npz '))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

it('arrays that came in pieces are read back; the same arrays give the same bytes', async () => {
  const pixels = Uint8Array.from({ length: 5 * 4 * 6 * 3 }, (_, i) => i % 251)
  const classes = BigInt64Array.of(5n, -1n, 999n, 0n, 7n)
  const write = async (name: string, piece: number): Promise<string> => {
    function* pieces(): Generator<Uint8Array> {
      for (let at = 0; at < pixels.length; at += piece) yield pixels.subarray(at, at + piece)
    }
    const file = path.join(dir, name)
    await writeNpz(file, [
      { name: 'arr_0', dtype: '|u1', shape: [5, 4, 6, 3], data: pieces() },
      { name: 'arr_1', dtype: '<i8', shape: [5], data: [new Uint8Array(classes.buffer)] },
    ])
    return file
  }
  const [one, other] = [await write('one.npz', 72), await write('other.npz', 11)]
  expect(readFileSync(one).equals(readFileSync(other))).toBe(true)
  const npz = await openNpz(one)
  expect(npz.arrays.get('arr_0')).toMatchObject({ descr: '|u1', shape: [5, 4, 6, 3] })
  expect([...(await npz.readFloat64('arr_1'))]).toEqual([5, -1, 999, 0, 7])
  const read: number[] = []
  for await (const { bytes } of npz.streamRows('arr_0', 2)) read.push(...bytes)
  expect(read).toEqual([...pixels])
  await npz.close()
})
