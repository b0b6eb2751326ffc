/** `vtp index`, `vtp search` and `vtp dedup` as users run them, with the bundled model on real photographs. */
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openSource } from '../../src/io/sources/index.js'
import type { ListingEntry } from '../../src/types.js'
import { repoRoot, runCli } from '../support/cli.js'
import { buildIndexOf } from '../support/search-server.js'

interface Result {
  rank: number
  score: number
  key: string
  uri: string
  label: number | null
  className: string | null
  missing: boolean
  shard: string
  shardRow: number
}

const dir = mkdtempSync(path.join(tmpdir(), 'vtp search '))
const photos = path.join(dir, 'photos')
const cat = path.join(photos, 'people and animals', 'chelsea the cat.png')
let index: string

beforeAll(async () => {
  cpSync(path.join(repoRoot, 'fixtures', 'images'), photos, { recursive: true })
  copyFileSync(cat, path.join(photos, 'things', 'copy of the cat.png'))
  index = await buildIndexOf(photos, dir)
}, 120_000)
afterAll(() => rmSync(dir, { recursive: true, force: true }))

async function search(...args: string[]): Promise<Result[]> {
  const run = await runCli(['search', index, ...args, '--json'])
  expect(run.code, run.stderr).toBe(0)
  return (JSON.parse(run.stdout) as { results: Result[] }).results
}

describe('vtp search', () => {
  it('finds an image by itself, with where it came from', async () => {
    const [first, second] = await search(cat)
    expect([first!.key, second!.key].sort()).toEqual([
      'people and animals/chelsea the cat.png',
      'things/copy of the cat.png',
    ])
    expect(first).toMatchObject({ rank: 1, missing: false, shard: path.join(dir, 'embeddings', 'part-00000.parquet') })
    expect(first!.score).toBeGreaterThan(0.999)
  })

  it('embeds queries at the precision that is asked for, and says which', async () => {
    const run = async (...args: string[]) =>
      JSON.parse((await runCli(['search', index, 'a cat', ...args, '--json'])).stdout)
    const [exact, coarse] = [await run(), await run('--precision', 'int8')]
    expect([exact.precision, coarse.precision]).toEqual(['fp32', 'int8'])
    expect(coarse.results[0].score).not.toBe(exact.results[0].score)
    expect(coarse.results[0].score).toBeCloseTo(exact.results[0].score, 1)
    expect((await run('--precision', 'fp16')).error.message).toMatch(/fp16 is not offered on the device cpu/)
  })

  it('leaves near-duplicates out with --dedup, and goes on behind them', async () => {
    const results = await search(cat, '--dedup', '-k', '5')
    expect(results.length).toBe(5)
    expect(results.filter((result) => result.key.endsWith('cat.png')).length).toBe(1)
  })

  it('filters by class name and size, and is exact then', async () => {
    const results = await search('a photo', '--label', 'things', '--min-width', '100', '-k', '50')
    expect(results.length).toBeGreaterThan(2)
    expect(results.every((result) => result.className === 'things')).toBe(true)
    const wrong = await runCli(['search', index, 'a photo', '--label', 'thingz'])
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringMatching(/choose among people and animals/)])
  })

  it('combines texts and images by weight', async () => {
    const alone = await search(cat, '-k', '14')
    const mixed = await search(cat, 'a rocket', '--weights', '1,0.001', '-k', '14')
    expect(
      mixed
        .slice(0, 2)
        .map((result) => result.key)
        .sort(),
    ).toEqual(
      alone
        .slice(0, 2)
        .map((result) => result.key)
        .sort(),
    )
    const against = await search('a rocket', '--image', cat, '--weights', '0.001,-1', '-k', '14')
    expect(against.at(-1)!.key).toMatch(/cat\.png$/)
  })

  it('answers every line of a file', async () => {
    const run = await runCli(['search', index, '--text-file', '-', '-k', '2', '--json'], {
      input: 'a cat\n\na rocket\n',
    })
    const { queries } = JSON.parse(run.stdout) as { queries: { query: string[]; results: Result[] }[] }
    expect(queries.map(({ query, results }) => [query, results.length])).toEqual([
      [['a cat'], 2],
      [['a rocket'], 2],
    ])
  })

  it('prints a table for people', async () => {
    const run = await runCli(['search', index, 'a cat', '-k', '3'])
    expect(run.stdout.trimEnd().split('\n').length).toBe(3)
    expect(run.stdout).toMatch(/^ ?1 {2}-?0\.\d{4} .*photos/)
  })

  it('marks an image whose file is gone as missing', async () => {
    const lost = path.join(photos, 'things', 'copy of the cat.png')
    rmSync(lost)
    try {
      const results = await search(cat, '-k', '3')
      expect(results.find((result) => result.uri === lost)?.missing).toBe(true)
      expect(results.filter((result) => result.missing).length).toBe(1)
    } finally {
      copyFileSync(cat, lost)
    }
  })

  it.each([
    [['missing.jpg'], 2, /There is no image missing\.jpg/],
    [[], 2, /nothing to search for/],
    [['a', 'b', '--weights', '1'], 2, /there are 2 queries/],
    [[path.join(repoRoot, 'fixtures', 'broken', 'not an image.jpg')], 2, /cannot be used as a query/],
    [['a', '--model', path.join(repoRoot, 'src')], 2, /model|config\.json/],
  ])('refuses %j', async (args, code, message) => {
    const run = await runCli(['search', index, ...args])
    expect(run.stderr).toMatch(message)
    expect(run.stderr).toMatch(/Try: /)
    expect(run.code).toBe(code)
  })

  it('says what is wrong with a folder that is no index, and with a damaged one', async () => {
    const none = await runCli(['search', photos, 'a cat'])
    expect([none.code, none.stderr]).toEqual([2, expect.stringMatching(/no index/)])
    const broken = path.join(dir, 'broken.index')
    cpSync(index, broken, { recursive: true })
    writeFileSync(path.join(broken, 'index.json'), '{"version": 1')
    const run = await runCli(['search', broken, 'a cat', '--json'])
    expect(run.code).toBe(3)
    expect(JSON.parse(run.stdout)).toMatchObject({ error: { code: 'index_damaged' } })
  })
})

describe('vtp dedup', () => {
  it('lists the copies', async () => {
    const run = await runCli(['dedup', index, '--threshold', '0.9999', '--json'])
    const { groups, duplicates } = JSON.parse(run.stdout) as {
      groups: { rows: { key: string }[] }[]
      duplicates: number
    }
    expect(groups.map((group) => group.rows.map((row) => row.key))).toEqual([
      ['people and animals/chelsea the cat.png', 'things/copy of the cat.png'],
    ])
    expect(duplicates).toBe(1)
  })

  it('writes the groups and what stays and goes to files in a new folder, or says at once that it cannot', async () => {
    const out = path.join(dir, 'new', 'folder', 'groups.jsonl')
    const [keep, remove] = [path.join(dir, 'new', 'keep.jsonl'), path.join(dir, 'new', 'remove.txt')]
    const lists = ['--keep-list', keep, '--remove-list', remove]
    const run = await runCli(['dedup', index, '--threshold', '0.9999', '--out', out, ...lists])
    expect(run.code, run.stderr).toBe(0)
    expect(readdirSync(path.dirname(out))).toEqual(['groups.jsonl'])
    expect(JSON.parse(readFileSync(out, 'utf8'))).toMatchObject({ rows: [{}, {}] })
    // Both are sources: together they are the images, with their keys and classes.
    const entries = async (file: string): Promise<ListingEntry[]> => {
      const source = await openSource(file)
      const found: ListingEntry[] = []
      for await (const entry of source.list()) found.push(entry)
      expect(source.classes ?? null).toEqual(file === keep ? expect.arrayContaining(['things']) : null)
      return found
    }
    expect((await entries(remove)).map(({ uri }) => path.relative(photos, uri))).toEqual(['things/copy of the cat.png'])
    const kept = await entries(keep)
    expect(kept).toHaveLength(13)
    expect(kept.find(({ key }) => key === 'things/coffee.webp')).toMatchObject({ label: 2 })
    for (const wrong of [dir, 's3://bucket/groups.jsonl', path.join(out, 'in a file')]) {
      const refused = await runCli(['dedup', index, '--out', wrong])
      expect([refused.code, refused.stderr]).toEqual([2, expect.stringMatching(/--out/)])
    }
  })
})

describe('vtp index', () => {
  it('does nothing when nothing has changed, and refuses to overwrite embeddings', async () => {
    const embeddings = path.join(dir, 'embeddings')
    const again = await runCli(['index', embeddings, '--out', index, '--json'])
    expect(JSON.parse(again.stdout)).toMatchObject({ rows: 14, added: 0, kind: 'hnsw' })
    const wrong = await runCli(['index', embeddings, '--out', embeddings])
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringMatching(/folder of its own/)])
  })

  it('is a folder of this machine, and says so for buckets', async () => {
    const runs = [
      ['index', path.join(dir, 'embeddings'), '--out', 's3://bucket/index'],
      ['search', 's3://bucket/index', 'a cat'],
      ['dedup', 's3://bucket/index'],
      ['serve', 's3://bucket/index', '--port', '0'],
    ]
    for (const args of runs) {
      const run = await runCli(args, { cwd: dir })
      expect([run.code, run.stderr]).toEqual([2, expect.stringMatching(/a folder of this machine/)])
    }
    expect(existsSync(path.join(dir, 's3:'))).toBe(false)
  })

  it('asks for LanceDB when it is not there', async () => {
    mkdirSync(path.join(dir, 'elsewhere'))
    const args = ['index', path.join(dir, 'embeddings'), '--out', path.join(dir, 'lance'), '--kind', 'lancedb']
    const run = await runCli(args, { cwd: path.join(dir, 'elsewhere') })
    expect([run.code, run.stderr]).toEqual([2, expect.stringMatching(/npm install @lancedb\/lancedb@0\.37\.1/)])
  })
})
