/**
 * Indexes next to usearch, faiss-cpu and numpy from Python, on the same clustered unit vectors.
 *
 *   npx tsx bench/retrieval.ts [--rows 200000] [--dim 512] [--python PYTHON] [--dir DIR] [--steps ours,usearch,faiss,exact]
 *     [--storage bfloat16,float16,int8]
 *
 * PYTHON needs numpy, usearch and faiss-cpu. Prints recall@10 against exact search, build time, the time of single
 * queries with one thread and the index's size; and exact search against numpy, interleaved.
 */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { effectiveCores } from '../src/engine/cores.js'
import { encodeNpyHeader } from '../src/io/numpy/npy.js'
import { buildIndex } from '../src/retrieval/build.js'
import { HNSW_DEFAULTS } from '../src/retrieval/hnsw.js'
import { STORAGES } from '../src/retrieval/manifest.js'
import { openIndex } from '../src/retrieval/open-index.js'
import { unitVectors } from '../src/retrieval/segments.js'
import { median } from './support/measure.js'

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '200000' },
    dim: { type: 'string', default: '512' },
    python: { type: 'string', default: 'python3' },
    dir: { type: 'string', default: path.join(tmpdir(), 'vtp-bench-retrieval') },
    steps: { type: 'string', default: 'ours,usearch,faiss,exact' },
    storage: { type: 'string', default: 'bfloat16,float16,int8' },
  },
})
const [rows, dim, k, queryCount] = [Number(values.rows), Number(values.dim), 10, 500]
const steps = new Set(values.steps.split(','))
const threads = effectiveCores()
const { dir } = values
const file = (name: string): string => path.join(dir, name)

/** Seeded standard normals (xorshift and Box-Muller). */
function normals(seed: number): () => number {
  let state = seed
  const uniform = (): number => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32 + 2 ** -33
  }
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform())
}

/** Points around 2,000 centres; the spread is as large as the centres are apart. */
function clustered(count: number, seed: number): Float32Array {
  const centre = normals(12345)
  const centres = Float32Array.from({ length: 2000 * dim }, centre)
  const noise = normals(seed)
  const pick = normals(seed + 1)
  const out = new Float32Array(count * dim)
  for (let i = 0; i < count; i++) {
    const c = Math.floor(Math.abs(pick()) * 1e6) % 2000
    for (let d = 0; d < dim; d++) out[i * dim + d] = centres[c * dim + d]! + noise()
  }
  return unitVectors(out, dim)
}

async function python(step: string, out: string): Promise<Record<string, number> & { ids: number[][] }> {
  const script = fileURLToPath(new URL('./support/retrieval.py', import.meta.url))
  const args = [script, step, file('vectors.f32'), file('queries.f32'), String(dim), String(k), String(threads), out]
  const { stdout } = await promisify(execFile)(values.python, args, { maxBuffer: 2 ** 28 })
  return JSON.parse(stdout) as Record<string, number> & { ids: number[][] }
}

const recall = (found: number[][], truth: number[][]): string => {
  const hits = found.map((ids, i) => ids.filter((id) => truth[i]!.includes(id)).length)
  return (hits.reduce((a, b) => a + b, 0) / (found.length * k)).toFixed(4)
}
const line = (...parts: (string | number)[]): void => console.log(parts.join('  '))

async function main(): Promise<void> {
  mkdirSync(file('embeddings/img_emb'), { recursive: true })
  const queries = clustered(queryCount, 99)
  if (!existsSync(file('embeddings/img_emb/img_emb_0.npy'))) {
    const vectors = clustered(rows, 7)
    writeFileSync(file('vectors.f32'), vectors)
    writeFileSync(file('queries.f32'), queries)
    const bytes = new Uint8Array(vectors.buffer)
    writeFileSync(file('embeddings/img_emb/img_emb_0.npy'), Buffer.concat([encodeNpyHeader('<f4', [rows, dim]), bytes]))
  }
  line(`${rows} × ${dim} clustered unit vectors, ${queryCount} queries, ${threads} threads`)
  const embeddings = [file('embeddings')]
  const base = { embeddings, threads, append: false, memoryBytes: 2 ** 34 }
  await buildIndex({ ...base, out: file('exact'), kind: 'exact', hnsw: HNSW_DEFAULTS })
  const exact = await openIndex(file('exact'), { threads })
  const truth = (await exact.search(queries, { k })).map((hits) => hits.map((hit) => hit.row))

  if (steps.has('ours')) {
    for (const storage of STORAGES.filter((name) => values.storage.split(',').includes(name))) {
      let copied = 0
      let cpu = process.cpuUsage()
      const out = file(`hnsw-${storage}`)
      const { seconds, manifest } = await buildIndex({
        ...base,
        out,
        kind: 'hnsw',
        hnsw: { ...HNSW_DEFAULTS, storage },
        onProgress: ({ phase }) => {
          if (phase !== 'copy') return
          copied = performance.now()
          cpu = process.cpuUsage()
        },
      })
      const graphSeconds = (performance.now() - copied) / 1000
      const used = process.cpuUsage(cpu)
      const cpuSeconds = (used.user + used.system) / 1e6
      const index = await openIndex(out)
      const found: number[][] = []
      const times: number[] = []
      cpu = process.cpuUsage()
      for (let q = 0; q < queryCount; q++) {
        const began = performance.now()
        const [hits] = await index.search(queries.slice(q * dim, (q + 1) * dim), { k })
        times.push(performance.now() - began)
        found.push(hits!.map((hit) => hit.row))
      }
      const search = process.cpuUsage(cpu)
      const queryCpu = (search.user + search.system) / 1000 / queryCount
      await index.close()
      const mb = (manifest.hnsw!.file.bytes / 1e6).toFixed(0)
      line(
        `vtp hnsw ${storage.padEnd(8)} recall@10 ${recall(found, truth)}  build ${graphSeconds.toFixed(1)} s, ${cpuSeconds.toFixed(0)} CPU s (all ${seconds.toFixed(1)} s)  p50 ${median(times).toFixed(3)} ms, ${queryCpu.toFixed(3)} CPU ms  ${mb} MB`,
      )
    }
  }
  for (const step of ['usearch', 'faiss'].filter((name) => steps.has(name))) {
    const out = file(`python-${step}`)
    const { ids, build_s, cpu_s, p50_ms, query_cpu_ms } = await python(step, out)
    line(
      `python ${step.padEnd(13)} recall@10 ${recall(ids, truth)}  build ${build_s!.toFixed(1)} s, ${cpu_s!.toFixed(0)} CPU s  p50 ${p50_ms!.toFixed(3)} ms, ${query_cpu_ms!.toFixed(3)} CPU ms  ${(statSync(out).size / 1e6).toFixed(0)} MB`,
    )
  }
  if (steps.has('exact')) {
    const [ours, theirs, oursBatch, theirsBatch]: number[][] = [[], [], [], []]
    for (let round = 0; round < 5; round++) {
      const theirsNow = await python('numpy', file('none'))
      theirs!.push(theirsNow.p50_ms!)
      theirsBatch!.push(theirsNow.batch64_ms!)
      const times: number[] = []
      for (let q = 0; q < 20; q++) {
        const began = performance.now()
        await exact.search(queries.slice(q * dim, (q + 1) * dim), { k })
        times.push(performance.now() - began)
      }
      ours!.push(median(times))
      const began = performance.now()
      await exact.search(queries.slice(0, 64 * dim), { k })
      oursBatch!.push(performance.now() - began)
    }
    const [a, b, c, d] = [ours!, theirs!, oursBatch!, theirsBatch!].map(median) as [number, number, number, number]
    line(`exact, 1 query    vtp ${a.toFixed(1)} ms  numpy ${b.toFixed(1)} ms  ratio ${(a / b).toFixed(2)}`)
    line(`exact, 64 queries vtp ${c.toFixed(0)} ms  numpy ${d.toFixed(0)} ms  ratio ${(c / d).toFixed(2)}`)
  }
  await exact.close()
}

await main()
