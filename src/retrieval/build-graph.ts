/**
 * The HNSW graph of an index: vectors are added in the order of their rows, and the unfinished graph is saved
 * now and then, so that a build that was stopped goes on from there.
 */
import { readdir, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { writeAtomically } from '../io/atomic.js'
import { openLocalStore } from '../io/local-store.js'
import { createHnsw, type HnswSettings } from './hnsw.js'
import type { IndexFile, Manifest } from './manifest.js'
import { openRows } from './row-reader.js'

export interface BuildProgress {
  phase: 'copy' | 'graph'
  done: number
  total: number
}

export interface GraphRequest {
  /** Folder of the index. */
  out: string
  hnsw: HnswSettings
  threads: number
  stop?: AbortSignal
  onProgress?: (progress: BuildProgress) => void
  onNote?: (line: string) => void
}

/** Vectors added between two looks at the stop signal. */
const GRAPH_BATCH = 2048
/** Vectors between two saves of an unfinished graph. */
const SAVE_EVERY = 500_000

/** Adds every vector that has no node yet and saves the graph; undefined when stopped. */
export async function buildGraph(
  request: GraphRequest,
  manifest: Manifest,
  key: string,
  base: Manifest | undefined,
): Promise<IndexFile | undefined> {
  const { out, hnsw: settings } = request
  const index = createHnsw(manifest.dim, settings)
  const { storage, connectivity, expansionAdd } = settings
  const name = `hnsw-${key}-${storage}-${connectivity}-${expansionAdd}`
  let first = 0
  const saved = await savedGraph(out, name)
  if (saved) {
    index.load(path.join(out, saved.file))
    first = saved.rows
    request.onNote?.(`Continuing: ${first} of ${manifest.rows} vectors are in the graph.`)
  } else if (base?.hnsw) {
    index.load(path.join(out, base.hnsw.file.name))
    first = base.rows
  }
  // The number of rows is part of the name, so that one rename says both.
  const save = async (rows: number): Promise<void> => {
    const older = await savedGraph(out, name)
    const part = path.join(out, partName(name, rows))
    await writeAtomically(part, async (tmp) => index.save(tmp))
    if (older && older.rows !== rows) await rm(path.join(out, older.file), { force: true })
  }
  const reader = openRows(out, manifest.dim, manifest.segments)
  let nextSave = first + SAVE_EVERY
  try {
    for await (const batch of reader.scanVectors(GRAPH_BATCH, first)) {
      addVectors(index, batch, manifest.dim, request.threads)
      const done = batch.first + batch.rows
      request.onProgress?.({ phase: 'graph', done, total: manifest.rows })
      const stopped = request.stop?.aborted ?? false
      if (done < manifest.rows && (stopped || done >= nextSave)) {
        await save(done)
        nextSave = done + SAVE_EVERY
        if (stopped) return undefined
      }
      // Lets signals and timers in between two blocking calls.
      await new Promise((resolve) => setImmediate(resolve))
    }
  } finally {
    await reader.close()
  }
  const file = path.join(out, `${name}.usearch`)
  await writeAtomically(file, async (tmp) => index.save(tmp))
  const sha256 = await openLocalStore(out).sha256(path.basename(file))
  return { name: path.basename(file), bytes: (await stat(file)).size, sha256 }
}

const partName = (name: string, rows: number): string => `${name}.${rows}.part`

/** The furthest unfinished graph of a build. */
async function savedGraph(out: string, name: string): Promise<{ file: string; rows: number } | undefined> {
  const found = (await readdir(out))
    .map((file) => ({ file, rows: Number(/\.(\d+)\.part$/.exec(file)?.[1]) }))
    .filter(({ file, rows }) => file === partName(name, rows))
  return found.sort((a, b) => b.rows - a.rows)[0]
}

function addVectors(
  index: ReturnType<typeof createHnsw>,
  batch: { first: number; rows: number; vectors: Float32Array },
  dim: number,
  threads: number,
): void {
  // A row without an embedding has no place in the graph.
  const present: number[] = []
  for (let i = 0; i < batch.rows; i++)
    if (batch.vectors.subarray(i * dim, (i + 1) * dim).some((value) => value !== 0)) present.push(i)
  if (present.length === 0) return
  const keys = BigUint64Array.from(present, (i) => BigInt(batch.first + i))
  const vectors =
    present.length === batch.rows
      ? batch.vectors
      : Float32Array.from(present.flatMap((i) => [...batch.vectors.subarray(i * dim, (i + 1) * dim)]))
  index.add(keys, vectors as never, threads)
}
