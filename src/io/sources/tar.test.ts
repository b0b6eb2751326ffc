import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { expect, it, onTestFinished } from 'vitest'
import type { ListingEntry, Source } from '../../types.js'
import type { SourceOptions } from './options.js'
import { openTars } from './tar.js'

type Member = [name: string | Buffer, content: string | Buffer, type?: string]

interface HeaderOptions {
  signed?: boolean
  size?: number
  magic?: string
}

/** A header and its data, byte for byte: libraries would not write what is tried here. */
function member([name, content, type = '0']: Member, options: HeaderOptions = {}): Buffer {
  const data = Buffer.from(content)
  const header = Buffer.alloc(512)
  Buffer.from(name).copy(header, 0, 0, 100)
  header.write('0000644\0', 100, 'latin1')
  header.write(`${(options.size ?? data.length).toString(8).padStart(11, '0')}\0`, 124, 'latin1')
  header.write(type, 156, 'latin1')
  header.write(options.magic ?? 'ustar\x0000', 257, 'latin1')
  header.write('        ', 148, 'latin1')
  let sum = 0
  for (const byte of header) sum += options.signed && byte > 127 ? byte - 256 : byte
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return Buffer.concat([header, data, Buffer.alloc((512 - (data.length % 512)) % 512)])
}

const END = Buffer.alloc(1024)
const archive = (...members: Member[]): Buffer => Buffer.concat([...members.map((m) => member(m)), END])

function pax(key: string, value: string | Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')])
  let length = rest.length + 1
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length
  return Buffer.concat([Buffer.from(String(length)), rest])
}

async function open(bytes: Buffer, name = 'a.tar', options: SourceOptions = {}): Promise<Source> {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp-tar-'))
  const file = path.join(dir, name)
  await writeFile(file, bytes)
  const source = await openTars([file], options)
  onTestFinished(async () => {
    await source.close()
    await rm(dir, { recursive: true, force: true })
  })
  return source
}

async function entriesOf(source: Source): Promise<ListingEntry[]> {
  const entries: ListingEntry[] = []
  for await (const entry of source.list()) entries.push(entry)
  return entries
}

async function listed(bytes: Buffer, options?: SourceOptions) {
  const source = await open(bytes, 'a.tar', options)
  const entries = (await entriesOf(source)).map(({ key, label, caption, at }) => ({
    key: key.replace(/^a\.tar\//, ''),
    ...(label === undefined ? {} : { label }),
    ...(caption === undefined ? {} : { caption }),
    at: at.kind === 'bad' ? at.code : at.kind,
  }))
  const { passedOver, notes, classes } = source
  return { entries, passedOver: passedOver.count, notes: notes.map(({ code, count }) => [code, count]), classes }
}

it('the image of a sample is the field whose whole extension is one; others are passed over', async () => {
  for (const names of [
    ['1.jpg', '1.depth.png'],
    ['1.depth.png', '1.jpg', '1.seg.png'],
    ['1.png', '1.jpg'],
    ['1.mask.tif', '1.webp', '1.a.jpg', '1.b.jpg'],
    ['1.thumbnail.JPG', '1.JPEG'],
  ]) {
    const { entries, passedOver } = await listed(archive(...names.map((n): Member => [n, n]), ['1.cls', '3']))
    expect(entries, names.join()).toEqual([{ key: '1', label: 3, at: 'range' }])
    expect(passedOver).toBe(names.length - 1)
  }
})

it('the same field twice, and several images without a plain one, are rows and rejects: none is lost in silence', async () => {
  const twice = await listed(archive(['1.cls', '3'], ['1.png', 'a'], ['1.png', 'c'], ['2.png', 'd'], ['3.txt', 'none']))
  expect(twice.entries).toEqual([
    { key: '1', label: 3, at: 'range' },
    { key: '1.png', at: 'bad_entry' },
    { key: '2', at: 'range' },
  ])
  expect(twice.passedOver).toBe(1)
  const versions = await listed(archive(['1.0.jpg', 'a'], ['1.1.jpg', 'b']))
  expect(versions.entries).toEqual([
    { key: '1', at: 'range' },
    { key: '1.1.jpg', at: 'bad_entry' },
  ])
})

it('names without a stem are no samples, and do not come between the members of one', async () => {
  for (const folder of ['', './', 'train/', './a/b/']) {
    const { entries, passedOver } = await listed(
      archive(
        [`${folder}._1.jpg`, 'x'],
        [`${folder}1.jpg`, 'a'],
        [`${folder}._1.cls`, 'x'],
        [`${folder}1.cls`, '7'],
        [`${folder}.DS_Store`, 'x'],
        [`${folder}.hidden.jpg`, 'x'],
      ),
    )
    expect(entries).toEqual([{ key: `${folder}1`, label: 7, at: 'range' }])
    expect(passedOver).toBe(4)
  }
})

it('names are bytes: what is not UTF-8 is kept apart and shown as \\xNN', async () => {
  const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1')
  const names = ['caf\xe8', 'caf\xe9', 'caf\xea', 'd\xff/x']
  const members = names.flatMap((name, i): Member[] => [
    [latin1(`${name}.jpg`), 'a'],
    [latin1(`${name}.cls`), String(i)],
  ])
  const { entries } = await listed(archive(...members))
  expect(entries.map(({ key, label }) => [key, label])).toEqual([
    ['caf\\xe8', 0],
    ['caf\\xe9', 1],
    ['caf\\xea', 2],
    ['d\\xff/x', 3],
  ])
  // The same in an extended header and in GNU's long name.
  const long = latin1(`${'d'.repeat(120)}/\xe9.jpg`)
  for (const head of [
    member(['x', pax('path', long), 'x']),
    member(['L', Buffer.concat([long, Buffer.from('\0')]), 'L']),
  ]) {
    const { entries } = await listed(Buffer.concat([head, archive(['short.jpg', 'a'])]))
    expect(entries.map(({ key }) => key)).toEqual([`${'d'.repeat(120)}/\\xe9`])
  }
})

it('header sums over signed bytes are sums, too', async () => {
  const name = Buffer.from('café.jpg')
  for (const signed of [false, true]) {
    const bytes = Buffer.concat([member([name, 'a'], { signed, magic: '\0'.repeat(8) }), END])
    expect((await listed(bytes)).entries).toEqual([{ key: 'café', at: 'range' }])
  }
})

it('archives that were joined are read to their end, and bytes that are none are told of', async () => {
  const [one, two] = [archive(['1.jpg', 'a']), archive(['2.jpg', 'b'])]
  const blocked = Buffer.concat([one, Buffer.alloc(10240 - one.length), two])
  for (const bytes of [Buffer.concat([one, two]), blocked, Buffer.concat([one.subarray(0, -512), two])]) {
    const { entries, notes } = await listed(bytes)
    expect(entries.map(({ key }) => key)).toEqual(['1', '2'])
    expect(notes).toEqual([])
  }
  const { entries, notes } = await listed(Buffer.concat([one, Buffer.alloc(512, 'rubbish')]))
  expect(entries.map(({ key }) => key)).toEqual(['1'])
  expect(notes).toEqual([['behind_end', 1]])
})

it('a gzipped archive gives the entries and bytes of the plain one', async () => {
  const bytes = archive(['1.jpg', 'first'], ['1.cls', '1'], ['2.jpg', 'second'])
  const [plain, packed] = [await open(bytes), await open(gzipSync(bytes), 'a.tar.gz')]
  const strip = (entries: ListingEntry[]) => entries.map(({ label, at }) => ({ label, size: 'size' in at && at.size }))
  const [a, b] = [await entriesOf(plain), await entriesOf(packed)]
  expect(strip(b)).toEqual(strip(a))
  expect(b.map(({ key }) => key)).toEqual(['a.tar.gz/1', 'a.tar.gz/2'])
  for (const [i, entry] of b.entries())
    expect(Buffer.from(await packed.read(entry)).toString()).toBe(Buffer.from(await plain.read(a[i]!)).toString())
  const cut = await open(gzipSync(bytes).subarray(0, 60), 'b.tgz')
  await expect(entriesOf(cut)).rejects.toMatchObject({ code: 'gzip_damaged' })
  const bomb = await open(gzipSync(Buffer.alloc(80 * 2 ** 20)), 'c.tgz')
  await expect(entriesOf(bomb)).rejects.toMatchObject({ code: 'gzip_too_large' })
}, 30_000)

it('links and folders have no data, whatever size they claim; sparse files are refused by name', async () => {
  const link = member(['l', '', '2'], { size: 5000 })
  const folder = member(['d/', '', '5'], { size: 999 })
  const old = member(['e/', '', '\0'])
  const { entries } = await listed(Buffer.concat([link, folder, old, archive(['1.jpg', 'a'])]))
  expect(entries).toEqual([{ key: '1', at: 'range' }])
  for (const bytes of [
    archive(['1.jpg', 'a', 'S'], ['2.jpg', 'b']),
    Buffer.concat([
      member(['x', Buffer.concat([pax('GNU.sparse.major', '1'), pax('GNU.sparse.name', '1.jpg')]), 'x']),
      archive(['GNUSparseFile.0/1.jpg', 'a'], ['2.jpg', 'b']),
    ]),
  ]) {
    const source = await open(bytes)
    const [sparse, plain] = await entriesOf(source)
    expect(sparse).toMatchObject({ key: 'a.tar/1', at: { kind: 'bad', code: 'bad_entry' } })
    expect(JSON.stringify(sparse!.at)).toContain('sparse')
    expect(plain).toMatchObject({ key: 'a.tar/2', at: { kind: 'range' } })
  }
})

it('pax sizes and global headers count, in time that grows with the archive only', async () => {
  const big = Buffer.concat([member(['x', pax('size', '3'), 'x']), member(['1.jpg', 'abc'], { size: 0 })])
  expect((await entriesOf(await open(Buffer.concat([big, END]))))[0]!.at).toMatchObject({ size: 3 })
  const header = (i: number): Buffer => {
    const records = Array.from({ length: 500 }, (_, k) => pax(`k${i}_${k}`, 'v'))
    return member(['g', Buffer.concat(records), 'g'])
  }
  // Copies of all that came before would take longer than a test may.
  const many = Buffer.concat([...Array.from({ length: 800 }, (_, i) => header(i)), archive(['1.jpg', 'a'])])
  expect((await listed(many)).entries).toHaveLength(1)
}, 60_000)

it('a label is a whole number however it is written, or else a name, and is never invented', async () => {
  for (const [text, label] of [
    ['3', 3],
    [' 3\r\n', 3],
    ['\uFEFF3', 3],
    ['+3', 3],
    ['3.0', 3],
    ['-1', -1],
    ['1_000', 1000],
    ['007', 7],
  ] as const)
    expect((await listed(archive(['1.jpg', 'a'], ['1.cls', text]))).entries[0]!.label, text).toBe(label)
  for (const text of ['3.5', '2147483648', '99999999999999999999', '']) {
    const { entries, notes } = await listed(archive(['1.jpg', 'a'], ['1.cls', text], ['2.jpg', 'a'], ['2.cls', '1']))
    expect(entries, text).toEqual([
      { key: '1', at: 'range' },
      { key: '2', label: 1, at: 'range' },
    ])
    expect(notes.length).toBe(1)
  }
  const named = await listed(archive(['1.jpg', 'a'], ['1.cls', 'dog'], ['2.jpg', 'a'], ['2.cls', 'cat']))
  expect(named.entries.map(({ label }) => label)).toEqual([1, 0])
  expect(named.classes).toEqual(['cat', 'dog'])
})

it('.json members may hold what Python writes; .cls and .txt win; other fields are kept when asked for', async () => {
  const json = '\uFEFF{"cls": "cat", "caption": ["a", "b"], "score": NaN, "x": -Infinity, "id": 12345678901234567890}'
  const bytes = archive(['1.jpg', 'a'], ['1.json', json], ['2.json', '{"label": 5}'], ['2.cls', '6'], ['2.jpg', 'b'])
  const { entries, notes } = await listed(bytes)
  expect(entries).toEqual([
    { key: '1', caption: 'a', at: 'range' },
    { key: '2', label: 6, at: 'range' },
  ])
  expect(notes).toContainEqual(['caption_list', 1])
  expect(notes).toContainEqual(['label_mixed', 1])
  const [kept] = await entriesOf(await open(bytes, 'a.tar', { metadata: true }))
  expect(JSON.parse(kept!.metadata!)).toEqual({ caption: ['a', 'b'], id: '12345678901234567890' })
})

it('a name that leads out of the tar is a reject', async () => {
  const { entries } = await listed(archive(['../../evil.png', 'a'], ['fine..name/b.png', 'b']))
  expect(entries.map(({ at }) => at)).toEqual(['bad_entry', 'range'])
})

it('damage anywhere ends in rows, rejects or an error that names it', async () => {
  const good = archive(['1.jpg', 'a'.repeat(700)], ['1.cls', '1'], ['1.json', '{"a": 1}'], ['2.jpg', 'b'])
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 0, max: good.length }),
      async (changes, length) => {
        const bytes = Buffer.from(good)
        for (const [at, value] of changes) bytes[at] = value
        const entries = await listed(bytes.subarray(0, length)).catch((error: unknown) => error)
        if (entries instanceof Error) expect(entries).toHaveProperty('code')
      },
    ),
    { numRuns: 150 },
  )
})
