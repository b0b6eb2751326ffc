/** Indexes over shards of made vectors: what they find is compared with a search in a few lines of loops. */
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openShardWriter } from '../io/shards/index.js'
import type { RowMeta } from '../types.js'
import { type BuildRequest, buildIndex } from './build.js'
import { findDuplicates } from './duplicates.js'
import { combineQueries } from './embedder.js'
import { HNSW_DEFAULTS } from './hnsw.js'
import { classifyShards } from './labels.js'
import { INDEX_FILE, STORAGES } from './manifest.js'
import { openIndex } from './open-index.js'
import { unitVectors } from './segments.js'

const DIM = 24
const root = mkdtempSync(path.join(tmpdir(), 'vtp index '))
afterAll(() => rmSync(root, { recursive: true, force: true }))

/** Seeded values between −1 and 1. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return state / 2 ** 31
  }
}

function makeVectors(rows: number, seed: number): Float32Array {
  const next = random(seed)
  const centres = Array.from({ length: 16 }, () => Array.from({ length: DIM }, next))
  const out = new Float32Array(rows * DIM)
  for (let i = 0; i < rows; i++) for (let d = 0; d < DIM; d++) out[i * DIM + d] = centres[i % 16]![d]! + 0.4 * next()
  return unitVectors(out, DIM)
}

async function writeShard(folder: string, unit: number, vectors: Float32Array): Promise<void> {
  mkdirSync(folder, { recursive: true })
  const columns = [{ name: 'clip', dtype: 'float32' as const, shape: [DIM] }]
  const provenance = { 'vtp.model': 'made', 'vtp.model_digest': 'x' }
  const writer = await openShardWriter({ format: 'parquet', columns, captions: true, provenance }, unit, folder)
  const rows = Array.from({ length: vectors.length / DIM }, (_, i): RowMeta => {
    const caption = i % 2 === 0 ? `even ${i}` : null
    return {
      key: `${unit}/${i}`,
      uri: `/nowhere/${unit}/${i}.jpg`,
      label: i % 3,
      caption,
      width: i,
      height: 7,
      sha256: new Uint8Array(32),
    }
  })
  await writer.append({ rows, tensors: { clip: vectors } })
  const { files } = await writer.finish()
  for (const { path: file, name } of files) {
    copyFileSync(file, path.join(folder, name))
    rmSync(file)
  }
}

const request = (embeddings: string[], out: string, more: Partial<BuildRequest> = {}): BuildRequest => ({
  embeddings,
  out,
  kind: 'hnsw',
  hnsw: HNSW_DEFAULTS,
  threads: 2,
  append: false,
  memoryBytes: 2 ** 30,
  ...more,
})

function bruteForce(vectors: Float32Array, query: Float32Array, k: number, allowed = (_row: number) => true): number[] {
  const scores = Array.from({ length: vectors.length / DIM }, (_, row) => {
    let dot = 0
    for (let d = 0; d < DIM; d++) dot += vectors[row * DIM + d]! * query[d]!
    return { row, dot }
  })
  return scores
    .filter(({ row }) => allowed(row))
    .sort((a, b) => b.dot - a.dot || a.row - b.row)
    .slice(0, k)
    .map(({ row }) => row)
}

const vectors = makeVectors(3000, 1)
const parts = [vectors.slice(0, 1700 * DIM), vectors.slice(1700 * DIM)]
const all = path.join(root, 'all')
await writeShard(all, 0, parts[0]!)
await writeShard(all, 1, parts[1]!)
const queries = makeVectors(40, 2)
const query = (i: number): Float32Array => queries.slice(i * DIM, (i + 1) * DIM)

describe('an index', () => {
  it('finds exactly the nearest rows through several segments, with and without a filter', async () => {
    const out = path.join(root, 'exact')
    await buildIndex(request([all], out, { kind: 'exact', segmentRows: 700 }))
    const index = await openIndex(out)
    try {
      expect(index.manifest.segments.map((segment) => segment.rows)).toEqual([700, 700, 700, 700, 200])
      const found = await index.search(queries, { k: 10 })
      found.forEach((hits, i) => {
        expect(hits.map((hit) => hit.row)).toEqual(bruteForce(vectors, query(i), 10))
      })
      const filter = { labels: [1], caption: 'EVEN', maxWidth: 1000 }
      const [filtered] = await index.search(query(0), { k: 10, filter })
      const local = (row: number): number => (row < 1700 ? row : row - 1700)
      const allowed = (row: number): boolean => local(row) % 3 === 1 && local(row) % 2 === 0 && local(row) <= 1000
      expect(filtered!.map((hit) => hit.row)).toEqual(bruteForce(vectors, query(0), 10, allowed))
      const [row] = await index.reader.rows([1701])
      expect(row).toMatchObject({ key: '1/1', uri: '/nowhere/1/1.jpg', label: 1, caption: null, width: 1 })
    } finally {
      await index.close()
    }
  })

  it.each(STORAGES)('finds nearly all of them by a graph that stores %s, with exact scores', async (storage) => {
    const out = path.join(root, storage)
    await buildIndex(request([all], out, { hnsw: { ...HNSW_DEFAULTS, storage } }))
    const index = await openIndex(out)
    try {
      const found = await index.search(queries, { k: 10 })
      const exact = await index.search(queries, { k: 10, exact: true })
      let common = 0
      found.forEach((hits, i) => {
        const scores = new Map(exact[i]!.map((hit) => [hit.row, hit.score]))
        for (const { row, score } of hits) {
          if (!scores.has(row)) continue
          common++
          expect(score).toBeCloseTo(scores.get(row)!, 5)
        }
      })
      expect(common / 400).toBeGreaterThan(0.93)
    } finally {
      await index.close()
    }
  })

  it('grows by appending, skips what it has, and leaves no files behind', async () => {
    const [a, b, out] = [path.join(root, 'a'), path.join(root, 'b'), path.join(root, 'grown')]
    await writeShard(a, 0, parts[0]!)
    await writeShard(b, 0, parts[1]!)
    await buildIndex(request([a], out))
    const grown = await buildIndex(request([a, b], out, { append: true }))
    expect([grown.added, grown.manifest.rows]).toEqual([1300, 3000])
    const again = await buildIndex(request([b], out, { append: true }))
    expect(again.added).toBe(0)
    const index = await openIndex(out)
    try {
      const exact = await index.search(queries, { k: 5, exact: true })
      exact.forEach((hits, i) => {
        expect(hits.map((hit) => hit.row)).toEqual(bruteForce(vectors, query(i), 5))
      })
      const [hits] = await index.search(vectors.slice(2500 * DIM, 2501 * DIM), { k: 1 })
      expect(hits![0]!.row).toBe(2500)
    } finally {
      await index.close()
    }
    expect(readdirSync(out).filter((name) => /usearch|part|tmp/.test(name)).length).toBe(1)
  })

  it('that was built with another storage grows in it, and says so', async () => {
    const [a, b, out] = [path.join(root, 'a'), path.join(root, 'b'), path.join(root, 'older')]
    await buildIndex(request([a], out, { hnsw: { ...HNSW_DEFAULTS, storage: 'float16' } }))
    const notes: string[] = []
    const { manifest } = await buildIndex(request([b], out, { append: true, onNote: (line) => notes.push(line) }))
    expect([manifest.hnsw!.storage, notes.join()]).toEqual(['float16', expect.stringMatching(/float16, 16 links/)])
    const index = await openIndex(out)
    const [hits] = await index.search(vectors.slice(2500 * DIM, 2501 * DIM), { k: 1 })
    expect(hits).toEqual([{ row: 2500, score: expect.closeTo(1, 5) }])
    await index.close()
  })

  it('goes on where a stopped build ended, and keeps the old index until the new one is whole', async () => {
    const out = path.join(root, 'resumed')
    const small = path.join(root, 'small')
    await writeShard(small, 0, vectors.slice(0, 50 * DIM))
    await buildIndex(request([small], out, { kind: 'exact' }))
    const controller = new AbortController()
    const stopped = await buildIndex(
      request([all], out, {
        segmentRows: 700,
        stop: controller.signal,
        onProgress: ({ done }) => done > 1500 && controller.abort(),
      }),
    )
    expect(stopped.interrupted).toBe(true)
    const old = await openIndex(out)
    expect(old.manifest.rows).toBe(50)
    await old.close()
    const notes: string[] = []
    await buildIndex(request([all], out, { segmentRows: 700, onNote: (line) => notes.push(line) }))
    expect(notes.join()).toMatch(/Continuing: 1400 of 3000/)
    const index = await openIndex(out)
    try {
      const exact = await index.search(queries, { k: 5, exact: true })
      exact.forEach((hits, i) => {
        expect(hits.map((hit) => hit.row)).toEqual(bruteForce(vectors, query(i), 5))
      })
    } finally {
      await index.close()
    }
  })

  it('knows a shard by its content, and refuses to append one that has changed', async () => {
    const [folder, out] = [path.join(root, 'touched'), path.join(root, 'touched.index')]
    await writeShard(folder, 0, vectors.slice(0, 60 * DIM))
    await buildIndex(request([folder], out, { kind: 'exact' }))
    const [part] = readdirSync(folder)
    utimesSync(path.join(folder, part!), 1, 1)
    const again = await buildIndex(request([folder, folder], out, { kind: 'exact', append: true }))
    expect([again.added, again.manifest.rows]).toEqual([0, 60])
    await writeShard(folder, 0, vectors.slice(60 * DIM, 100 * DIM))
    const changed = buildIndex(request([folder], out, { kind: 'exact', append: true }))
    await expect(changed).rejects.toMatchObject({ code: 'shard_changed', exitCode: 2 })
    expect((await buildIndex(request([folder, folder], out, { kind: 'exact' }))).manifest.rows).toBe(40)
  })

  it('is never written to by the build of its successor, which copies only what is new', async () => {
    const [folder, out] = [path.join(root, 'live'), path.join(root, 'live.index')]
    await writeShard(folder, 0, parts[0]!)
    await buildIndex(request([folder], out, { kind: 'exact', segmentRows: 700 }))
    const files = (): string[] => readdirSync(out).filter((name) => /f32$/.test(name))
    const copied = files()
    await buildIndex(request([folder], out, { segmentRows: 700 }))
    expect(files()).toEqual(copied)
    // The same size, other bytes: what is damaged is not taken over, and the old file is left as it is until the end.
    const damaged = readFileSync(path.join(out, copied[0]!)).map((byte, i) => (i % 9 === 0 ? byte ^ 1 : byte))
    writeFileSync(path.join(out, copied[0]!), damaged)
    const live = openSync(path.join(out, copied[0]!), 'r')
    const held = await openIndex(out, { hold: true })
    const before = await held.search(query(0), { k: 5, exact: true })
    await buildIndex(request([folder], out, { kind: 'exact', segmentRows: 700 }))
    expect(files().filter((name) => copied.includes(name))).toEqual([])
    expect(readFileSync(live).equals(damaged)).toBe(true)
    closeSync(live)
    expect(await held.search(query(0), { k: 5, exact: true })).toEqual(before)
    expect((await held.reader.rows([1500]))[0]!.key).toBe('0/1500')
    await held.close()
    const index = await openIndex(out)
    const [hits] = await index.search(query(0), { k: 5 })
    expect(hits!.map((hit) => hit.row)).toEqual(bruteForce(parts[0]!, query(0), 5))
    await index.close()
  })

  it('is finished after a kill that left half a marker and an unfinished graph', async () => {
    const out = path.join(root, 'killed')
    const stopAt = (rows: number, phase: string): Partial<BuildRequest> => {
      const controller = new AbortController()
      const onProgress: BuildRequest['onProgress'] = (now) => {
        if (now.phase === phase && now.done >= rows) controller.abort()
      }
      return { segmentRows: 700, stop: controller.signal, onProgress }
    }
    await buildIndex(request([all], out, stopAt(1500, 'copy')))
    const markers = readdirSync(out).filter((name) => name.endsWith('.done'))
    expect(markers.length).toBe(2)
    writeFileSync(path.join(out, markers[1]!), '{"first":')
    expect((await buildIndex(request([all], out, stopAt(2000, 'graph')))).interrupted).toBe(true)
    expect(readdirSync(out).filter((name) => /usearch.*part|part$/.test(name)).length).toBe(1)
    const notes: string[] = []
    await buildIndex(request([all], out, { segmentRows: 700, onNote: (line) => notes.push(line) }))
    expect(notes.join()).toMatch(/2100 of 3000 vectors are in the graph/)
    const index = await openIndex(out)
    const found = await index.search(vectors.slice(900 * DIM, 901 * DIM), { k: 1 })
    expect(found[0]![0]!.row).toBe(900)
    await index.close()
  })

  it('that is damaged is a clear error, whichever file it is', async () => {
    const out = path.join(root, 'damaged')
    await buildIndex(request([all], out))
    for (const name of readdirSync(out).filter((file) => !file.endsWith('.onnx'))) {
      const file = path.join(out, name)
      const bytes = readFileSync(file)
      const flipped = Buffer.from(bytes)
      for (let i = 0; i < flipped.length; i += 97) flipped[i]! ^= 0x55
      const damages = [bytes.subarray(0, bytes.length >> 1), ...(/usearch|json$/.test(name) ? [flipped] : [])]
      for (const damage of damages) {
        writeFileSync(file, damage)
        await expect(openIndex(out), name).rejects.toMatchObject({ code: 'index_damaged' })
      }
      rmSync(file)
      const code = name === INDEX_FILE ? 'no_index' : 'index_damaged'
      await expect(openIndex(out), name).rejects.toMatchObject({ code })
      writeFileSync(file, bytes)
    }
    await (await openIndex(out)).close()
  })

  it('refuses a graph that would not fit into memory, and says what would', async () => {
    const build = buildIndex(request([all], path.join(root, 'large'), { memoryBytes: 1000 }))
    await expect(build).rejects.toMatchObject({ code: 'index_memory' })
  })
})

describe('duplicates', () => {
  it('are groups linked by similarity, found alike by all pairs and by a graph', async () => {
    const copies = makeVectors(400, 3)
    // Rows 7, 107 and 207 are one image; 30 and 31 almost.
    for (const row of [107, 207]) copies.copyWithin(row * DIM, 7 * DIM, 8 * DIM)
    copies.copyWithin(31 * DIM, 30 * DIM, 31 * DIM)
    copies[31 * DIM] = copies[31 * DIM]! + 0.02
    const folder = path.join(root, 'copies')
    await writeShard(folder, 0, copies)
    const out = path.join(root, 'copies.index')
    await buildIndex(request([folder], out, { segmentRows: 150 }))
    const index = await openIndex(out)
    try {
      for (const exact of [true, false]) {
        const groups = await findDuplicates(index, { threshold: 0.999, exact })
        expect(groups.map((group) => group.rows)).toEqual([
          [7, 107, 207],
          [30, 31],
        ])
        expect(groups[0]!.score).toBeCloseTo(1, 5)
        const same = await findDuplicates(index, { threshold: 1, exact })
        expect(same.map((group) => group.rows)).toEqual([[7, 107, 207]])
      }
    } finally {
      await index.close()
    }
  })
})

describe('labels', () => {
  it('of one model are refused for embeddings of another with vectors of the same size', async () => {
    const set = { labels: ['a'], vectors: makeVectors(1, 5), scale: 1, bias: 0, probabilities: 'softmax' as const }
    const classify = (digest: string) => classifyShards(all, { ...set, model: { name: 'other', digest } }).next()
    expect((await classify('x')).value).toMatchObject({ row: { key: '0/0' } })
    await expect(classify('y')).rejects.toMatchObject({ code: 'other_model', exitCode: 2 })
  })
})

describe('queries', () => {
  it('are combined by weight into a unit vector, and refused when nothing is left', () => {
    const [a, b] = [Float32Array.of(1, 0), Float32Array.of(0, 1)]
    const both = combineQueries([a, b], [3, -4])
    expect([...both]).toEqual([expect.closeTo(0.6, 6), expect.closeTo(-0.8, 6)])
    expect(() => combineQueries([a, a], [1, -1])).toThrow(/cancel/)
  })
})
