import { describe, expect, it } from 'vitest'
import { isListable, listLine, rowsToRemove } from './keep-lists.js'
import type { OpenIndex } from './open-index.js'
import type { IndexRow } from './segments.js'

const row = (more: Partial<IndexRow>): IndexRow => ({
  ...{ key: 'a', uri: '/photos/a.jpg', label: null, caption: null, width: 8, height: 8, sha256: '' },
  ...more,
})

function indexOf(rows: IndexRow[]): OpenIndex {
  const reader = { rows: async (ids: readonly number[]) => ids.map((id) => rows[id]!) }
  return { reader, manifest: { rows: rows.length } } as unknown as OpenIndex
}

describe('what stays of a group of near-duplicates', () => {
  it('is the largest image, of equals the first', async () => {
    const index = indexOf([row({ width: 4 }), row({ width: 9 }), row({ width: 8 }), row({}), row({})])
    const groups = [
      { rows: [0, 1, 2], score: 1 },
      { rows: [3, 4], score: 1 },
    ]
    expect([...(await rowsToRemove(index, groups))]).toEqual([0, 2, 4])
  })
})

describe('a line of a list', () => {
  it('has all that a list can say of an image, or its path alone', () => {
    const one = row({ key: 'k', uri: '/photos/ü 1.jpg', label: 1, caption: 'a cat' })
    expect(listLine('keep.txt', one, null)).toBe('/photos/ü 1.jpg\n')
    expect(JSON.parse(listLine('keep.jsonl', one, ['b', 'cat']).toString())).toEqual({
      ...{ uri: '/photos/ü 1.jpg', key: 'k', label: 'cat', caption: 'a cat' },
    })
    expect(JSON.parse(listLine('keep.jsonl', row({ label: 0 }), null).toString()).label).toBe(0)
  })

  it('is refused for a path that it cannot hold, with the kind of list that can', () => {
    const broken = row({ uri: '/photos/a\nb.jpg' })
    expect(() => listLine('keep.txt', broken, null)).toThrow(/cannot hold the path/)
    expect(JSON.parse(listLine('keep.jsonl', broken, null).toString()).uri).toBe('/photos/a\nb.jpg')
    const bytes = Buffer.from([0x2f, 0xff, 0x2e, 0x6a])
    const raw = row({ uri: '/\\xFF.j', at: { kind: 'file', path: '/\\xFF.j', bytes: bytes.toString('base64') } })
    expect(listLine('keep.txt', raw, null)).toEqual(Buffer.concat([bytes, Buffer.from('\n')]))
    expect(() => listLine('keep.jsonl', raw, null)).toThrow(/cannot hold/)
  })

  it('cannot name what lies inside an archive or a table', () => {
    expect(isListable(row({}))).toBe(true)
    expect(isListable(row({ uri: '/photos/a#1.jpg' }))).toBe(true)
    expect(isListable(row({ uri: '/a.tar#x.jpg' }))).toBe(false)
    expect(isListable(row({ at: { kind: 'parquet', path: '/a.parquet', rowGroup: 0, row: 1 } }))).toBe(false)
  })
})
