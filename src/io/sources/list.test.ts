import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import { expect, it, onTestFinished } from 'vitest'
import type { ListingEntry } from '../../types.js'
import { openSource } from './index.js'
import { openList } from './list.js'
import type { SourceOptions } from './options.js'

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

it('may come through a pipe, as from <(…) of a shell', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp-list-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  const pipe = path.join(dir, 'pipe')
  execFileSync('mkfifo', [pipe])
  const source = await openSource(pipe)
  const written = writeFile(pipe, 'https://h/a.jpg\nhttps://h/b.jpg\n')
  const uris: string[] = []
  for await (const { uri } of source.list()) uris.push(uri)
  await written
  expect(uris).toEqual(['https://h/a.jpg', 'https://h/b.jpg'])
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

interface Listed {
  entries: ListingEntry[]
  notes: string[]
  classes: readonly string[] | undefined
}

async function listFile(name: string, content: string | Buffer, options: SourceOptions = {}): Promise<Listed> {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp-list-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  await writeFile(path.join(dir, name), content)
  const source = await openList(path.join(dir, name), options)
  const entries: ListingEntry[] = []
  for await (const entry of source.list()) entries.push(entry)
  const { notes, classes } = source
  return { entries, notes: notes.map(({ code, count }) => `${code} ${count}`), classes }
}

const lines = (...records: object[]): string => records.map((record) => `${JSON.stringify(record)}\n`).join('')
const labels = ({ entries }: Listed): (number | undefined)[] => entries.map(({ label }) => label)

it('missing values are missing, in every field', async () => {
  const text = [
    '{"uri": "0.jpg", "label": null, "caption": null, "key": null, "text": "t"}',
    '{"uri": null, "path": "1.jpg", "label": NaN, "caption": NaN}',
    '{"uri": "2.jpg", "label": 1, "score": Infinity, "box": [NaN, -Infinity]}',
  ]
  const { entries, notes } = await listFile('a.jsonl', text.join('\r\n'))
  expect(entries.map(({ key, label, caption, at }) => [key, label, caption, at.kind])).toEqual([
    ['0.jpg', undefined, 't', 'file'],
    ['1.jpg', undefined, undefined, 'file'],
    ['2.jpg', 1, undefined, 'file'],
  ])
  expect(notes).toEqual(['fields 1'])
})

it.each([
  ['whole numbers, also as floats and texts', [0, 3.0, '7', '2.0', true], [0, 3, 7, 2, 1], []],
  [
    'what is not a whole number is null, and told of',
    [1, 3.5, [1, 2], { a: 1 }],
    [1, undefined, undefined, undefined],
    ['label_kind 3'],
  ],
  [
    'what is beyond int32 is null, and told of',
    [1, 2 ** 31, -(2 ** 31), -(2 ** 40)],
    [1, undefined, -(2 ** 31), undefined],
    ['label_range 2'],
  ],
  ['few names among numbers are null, and told of', [1, 2, 'n/a'], [1, 2, undefined], ['label_mixed 1']],
])('labels: %s', async (_, values, expected, notes) => {
  const found = await listFile('a.jsonl', lines(...values.map((label, i) => ({ uri: `${i}.jpg`, label }))))
  expect(labels(found)).toEqual(expected)
  expect(found.notes).toEqual(notes)
  expect(found.classes).toBeUndefined()
})

it('labels that are names become indices into the sorted names, whatever comes first', async () => {
  const names = fc.array(fc.constantFrom('cat', 'dog', 'Zebra', 'äffin', '😀', '\uFF5E', undefined), { minLength: 1 })
  await fc.assert(
    fc.asyncProperty(names, async (values) => {
      const found = await listFile('a.jsonl', lines(...values.map((label, i) => ({ uri: `${i}.jpg`, label }))))
      // As Python sorts: by code point.
      const sorted = [...new Set(values.filter((name) => name !== undefined))].sort((a, b) =>
        Buffer.compare(Buffer.from(a), Buffer.from(b)),
      )
      expect(found.classes ?? []).toEqual(sorted)
      expect(labels(found)).toEqual(values.map((name) => (name === undefined ? undefined : sorted.indexOf(name))))
      expect(found.entries.every((entry) => !('className' in entry))).toBe(true)
    }),
    { numRuns: 30 },
  )
})

it('more names than numbers is an error that shows both', async () => {
  const mixed = lines({ uri: 'a.jpg', label: 'cat' }, { uri: 'b.jpg', label: 'dog' }, { uri: 'c.jpg', label: 1 })
  await expect(listFile('a.jsonl', mixed)).rejects.toMatchObject({ code: 'mixed_labels', exitCode: 2 })
})

it('keys may be numbers, captions lists; other fields are counted, or kept as JSON', async () => {
  const text = `${lines({ uri: 'a.jpg', key: 7, caption: ['one', 'two'], width: 3, label: 0.5 })}{"uri": "b.jpg", "key": 12345678901234567890, "caption": 5, "width": 4}\n`
  const plain = await listFile('a.jsonl', text)
  expect(plain.entries.map(({ key, caption }) => [key, caption])).toEqual([
    ['7', 'one'],
    ['12345678901234567890', undefined],
  ])
  expect(plain.notes.sort()).toEqual(['caption_kind 1', 'caption_list 1', 'fields 1', 'label_kind 1'])
  const kept = await listFile('a.jsonl', text, { metadata: true })
  expect(kept.entries.map(({ metadata }) => JSON.parse(metadata!))).toEqual([
    { caption: ['one', 'two'], width: 3, label: 0.5 },
    { caption: 5, width: 4 },
  ])
})

it('a table has a header that names its columns; fields may be quoted', async () => {
  const csv =
    '\uFEFFpath,label,caption,width\r\n"a,b.jpg",dog,"He said ""no"",\nthen left",4\r\nc.jpg,,,\r\n"d.jpg",cat,x,5\r\n'
  const found = await listFile('a.csv', csv)
  expect(found.entries.map(({ key, label, caption }) => [key, label, caption])).toEqual([
    ['a,b.jpg', 1, 'He said "no",\nthen left'],
    ['c.jpg', undefined, undefined],
    ['d.jpg', 0, 'x'],
  ])
  expect(found.classes).toEqual(['cat', 'dog'])
  const tsv = await listFile('a.tsv', 'file\tclass\tnote\nx.jpg\t3.0\tn\n', {
    fields: { image: 'file', label: 'class', caption: 'note' },
  })
  expect(tsv.entries[0]).toMatchObject({ key: 'x.jpg', label: 3, caption: 'n' })
  await expect(listFile('a.csv', 'a,b\n1,2\n')).rejects.toMatchObject({ code: 'no_image_column', exitCode: 2 })
  await expect(listFile('a.csv', 'path\nx\n', { fields: { label: 'y' } })).rejects.toMatchObject({ code: 'no_column' })
  const broken = await listFile('a.csv', 'path,label\na.jpg,1,2,3\nb.jpg,2\n"c.jpg,3\n')
  expect(broken.entries.map(({ at }) => at.kind)).toEqual(['bad', 'file', 'bad'])
})

it('a table is read back as it was written', async () => {
  const cell = fc.string({ unit: fc.constantFrom('a', ',', '"', '\n', 'é', ' '), maxLength: 6 })
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(cell, cell), { minLength: 1, maxLength: 8 }), async (rows) => {
      const quoted = (text: string): string => `"${text.replaceAll('"', '""')}"`
      const text = `path,caption,note\n${rows.map(([caption, note], i) => `${i}.jpg,${quoted(caption)},${quoted(note)}\n`).join('')}`
      const { entries } = await listFile('a.csv', text, { metadata: true })
      const found = entries.map(({ caption, metadata }) => [caption ?? '', JSON.parse(metadata ?? '{}').note ?? ''])
      expect(found).toEqual(rows)
    }),
    { numRuns: 30 },
  )
})

it('lists in UTF-16 and with names in other encodings name their images, and secrets stay where they are', async () => {
  for (const [name, text] of [
    ['a.txt', 'a.jpg\r\nhttps://h/b.jpg?X-Amz-Signature=hunter2\r\n'],
    ['a.jsonl', '{"uri": "a.jpg"}\r\n{"uri": "https://h/b.jpg?X-Amz-Signature=hunter2"}\r\n'],
    ['a.csv', 'uri\r\na.jpg\r\n"https://h/b.jpg?X-Amz-Signature=hunter2"\r\n'],
  ] as const) {
    const little = Buffer.from(`\uFEFF${text}`, 'utf16le')
    for (const bytes of [Buffer.from(text), little, Buffer.from(little).swap16()]) {
      const { entries } = await listFile(name, bytes)
      expect(entries.map(({ at }) => at.kind)).toEqual(['file', 'line'])
      expect(JSON.stringify(entries)).not.toContain('hunter2')
    }
  }
  const { entries } = await listFile('b.txt', Buffer.from('caf\xe9.jpg\nx.jpg\n', 'latin1'))
  expect(entries[0]!.key).toBe('caf\\xe9.jpg')
  const { at } = entries[0]!
  expect(at.kind === 'file' && Buffer.from(at.bytes!, 'base64').toString('latin1')).toMatch(/\/caf\xe9\.jpg$/)
})

it('takes no more than the limit, with the labels of the whole list', async () => {
  const text = lines({ uri: 'a.jpg', label: 'z' }, { uri: 'b.jpg', label: 'm' }, { uri: 'c.jpg', label: 'a' })
  const found = await listFile('a.jsonl', text, { limit: 2 })
  expect(labels(found)).toEqual([2, 1])
  expect(found.classes).toEqual(['a', 'm', 'z'])
})
