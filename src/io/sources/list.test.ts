import { Readable } from 'node:stream'
import { expect, it } from 'vitest'
import type { ListingEntry } from '../../types.js'
import { openList } from './list.js'

async function listed(...lines: string[]): Promise<ListingEntry[]> {
  const source = await openList('-', { stdin: Readable.from([lines.join('\n')]) })
  const entries: ListingEntry[] = []
  for await (const entry of source.list()) entries.push(entry)
  return entries
}

it('stores no secret of a line, however it is written', async () => {
  const text = [
    ' https://h/x.jpg?X-Amz-Signature=hunter2',
    'https:///alice:hunter2@h/a.jpg',
    'https:/alice:hunter2@h/a.jpg',
    'https:alice:hunter2@h/a.jpg',
    'https://alice:hun/hunter2@h/a.jpg',
    'x https://alice:hunter2@h/a.jpg',
    's3://AKID:hun/hunter2@bucket/a.jpg',
    'ftp://alice:hunter2@h/a.jpg',
    'file://alice:hunter2@h/a.jpg',
  ]
  const json = text.map((uri) => JSON.stringify({ url: uri, key: uri }))
  const broken = ['{"href": "https://alice:hunter2@h/a.jpg"}', '{"uri": "https://alice:hunter2@h/a.jpg"', '{"uri": 5}']
  for (const entries of [await listed(...text), await listed(...json, ...broken)]) {
    expect(entries.filter(({ at }) => at.kind !== 'bad')).toEqual([])
    expect(JSON.stringify(entries)).not.toMatch(/hunter2|alice|AKID/)
    expect(new Set(entries.map(({ key }) => key)).size).toBe(entries.length)
  }
})

it('reads the field url, and paths with blanks around them', async () => {
  const [web] = await listed('{"url": "https://h/a.jpg", "label": 3}')
  expect(web).toEqual({
    key: 'https://h/a.jpg',
    uri: 'https://h/a.jpg',
    label: 3,
    at: { kind: 'file', path: 'https://h/a.jpg' },
  })
  const [file, odd] = await listed(' /data/a b.jpg ', '/data/a:b@c.jpg')
  expect([file?.uri, odd?.uri]).toEqual(['/data/a b.jpg', '/data/a:b@c.jpg'])
})
