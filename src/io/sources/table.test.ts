/** Tables as pyarrow and `datasets` write them: fixtures/tables, made by make.py there. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { expect, it, onTestFinished } from 'vitest'
import { type ListingEntry, RejectError, type Source } from '../../types.js'
import { openSource } from './index.js'
import type { SourceOptions } from './options.js'

const tables = fileURLToPath(new URL('../../../fixtures/tables/', import.meta.url))
const pictures = [0, 1, 2, 3].map((i) => readFileSync(path.join(tables, 'pics', `${i}.png`)))

async function open(name: string, options: SourceOptions = {}): Promise<{ source: Source; entries: ListingEntry[] }> {
  const source = await openSource(path.isAbsolute(name) ? name : path.join(tables, name), options)
  onTestFinished(() => source.close())
  const entries: ListingEntry[] = []
  for await (const entry of source.list()) entries.push(entry)
  return { source, entries }
}

/** Which picture each entry is, or the code of its reject. */
async function images({ source, entries }: Awaited<ReturnType<typeof open>>): Promise<(number | string)[]> {
  const out: (number | string)[] = []
  for (const entry of entries) {
    const bytes = await source.read(entry).catch((error: unknown) => {
      if (!(error instanceof RejectError)) throw error
      return error.code
    })
    out.push(typeof bytes === 'string' ? bytes : pictures.findIndex((picture) => picture.equals(bytes)))
  }
  return out
}

it.each(['hub.parquet', 'saved'])(
  '%s: the declared image, class names, and fields that are kept on demand',
  async (name) => {
    const opened = await open(name)
    const { source, entries } = opened
    expect(await images(opened)).toEqual([0, 1, 2, 3])
    expect(entries.map(({ label, caption }) => [label, caption])).toEqual([
      [2, 'one'],
      [0, undefined],
      [1, 'three'],
      [undefined, 'four'],
    ])
    expect(source.classes).toEqual(['cat', 'dog', 'emu'])
    expect(source.notes).toMatchObject([{ code: 'fields', count: 2, examples: ['width', 'tags'] }])
    const kept = await open(name, { metadata: true })
    expect(kept.entries.map(({ metadata }) => metadata)).toEqual([
      '{"width":8,"tags":["a","b"]}',
      '{"width":"1152921504606846976","tags":[]}',
      undefined,
      '{"width":8,"tags":["c"]}',
    ])
  },
)

it('paths are read from the folder of the table, and rows without an image are rejects', async () => {
  expect(await images(await open('paths.parquet'))).toEqual([0, 1, 2, 'empty'])
  const opened = await open('links.parquet')
  expect(await images({ ...opened, entries: opened.entries.slice(0, 2) })).toEqual([0, 1])
  expect(opened.entries.map(({ caption }) => caption)).toEqual(['a', 'b', 'c'])
  expect(JSON.stringify(opened.entries)).not.toContain('hunter2')
})

it('columns are chosen by their usual names, or by flags, also inside of structs', async () => {
  const odd = await open('odd.parquet')
  expect(await images(odd)).toEqual([0, 1, 2, 3])
  expect(odd.entries.map(({ label }) => label)).toEqual([0, 1, undefined, undefined])
  expect(odd.entries.map(({ caption }) => caption)).toEqual(['a', 'c', undefined, undefined])
  expect(odd.source.notes.map(({ code, count }) => [code, count])).toEqual([
    ['fields', 3],
    ['caption_list', 1],
    ['label_kind', 1],
  ])
  const breeds = await open('odd.parquet', { fields: { label: 'breed' } })
  expect([breeds.entries.map(({ label }) => label), breeds.source.classes]).toEqual([
    [1, 0, 1, undefined],
    ['husky', 'pug'],
  ])
  const nested = await open('odd.parquet', { fields: { label: 'meta.kind.id', image: 'jpg' } })
  expect(nested.entries.map(({ label, at }) => [label, 'column' in at && at.column])).toEqual(
    [10, 11, 12, 13].map((label) => [label, 'jpg']),
  )
  for (const name of ['hub.parquet', 'saved'])
    expect(await images(await open(name, { fields: { image: 'img.bytes' } }))).toEqual([0, 1, 2, 3])
  const large = await open('odd.parquet', { fields: { label: 'hash' } })
  expect(large.source.notes).toContainEqual(expect.objectContaining({ code: 'label_range', count: 4 }))
})

it('several columns that may be the image are an error that names them and the flag', async () => {
  const error = await open('two.parquet').catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ code: 'many_image_columns', exitCode: 2 })
  expect(String(error)).toMatch(/left, right/)
  expect(await images(await open('two.parquet', { fields: { image: 'right' } }))).toEqual([1])
  expect(await images(await open('two.parquet', { fields: { image: 'file_name' } }))).toEqual([2])
  await expect(open('two.parquet', { fields: { image: 'rihgt' } })).rejects.toMatchObject({ code: 'no_column' })
})

it('a folder of tables is one source; splits are told apart', async () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'vtp-tables-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  for (const name of ['b', 'a']) cpSync(path.join(tables, 'hub.parquet'), path.join(dir, `${name}.parquet`))
  writeFileSync(path.join(dir, 'README.md'), 'text')
  const { source, entries } = await open(dir, { limit: 5 })
  expect(entries.map(({ key }) => key)).toEqual([
    ...[0, 1, 2, 3].map((i) => `a.parquet/0000000${i}`),
    'b.parquet/00000000',
  ])
  expect(source.passedOver).toEqual({ count: 1, examples: ['README.md'] })
  writeFileSync(path.join(dir, 'dataset_dict.json'), '{"splits": ["train", "test"]}')
  await expect(open(dir)).rejects.toMatchObject({ code: 'dataset_dict', exitCode: 2 })
})

it('damage anywhere ends in rows, rejects or an error with a code', async () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'vtp-tables-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  const saved = path.join(tables, 'saved')
  for (const name of readdirSync(saved)) cpSync(path.join(saved, name), path.join(dir, 'saved', name))
  for (const [original, target, spec] of [
    ['hub.parquet', 'x.parquet', 'x.parquet'],
    ['saved/data-00000-of-00002.arrow', 'saved/data-00000-of-00002.arrow', 'saved'],
  ] as const) {
    const good = readFileSync(path.join(tables, original))
    const change = fc.tuple(fc.nat(good.length - 1), fc.nat(255))
    const run = async (changes: [number, number][], length: number): Promise<void> => {
      const bytes = Buffer.from(good)
      for (const [at, value] of changes) bytes[at] = value
      writeFileSync(path.join(dir, target), bytes.subarray(0, length))
      const opened = await open(path.join(dir, spec)).catch((error: unknown) => error)
      if (opened instanceof Error) expect(opened, String(opened.stack)).toHaveProperty('code')
      else await images(opened as Awaited<ReturnType<typeof open>>)
    }
    const length = fc.oneof(
      { weight: 3, arbitrary: fc.constant(good.length) },
      { weight: 1, arbitrary: fc.nat(good.length) },
    )
    await fc.assert(fc.asyncProperty(fc.array(change, { maxLength: 3 }), length, run), { numRuns: 120 })
  }
}, 60_000)
