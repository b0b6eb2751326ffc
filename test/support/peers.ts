/** Reference data of the peers: cases made by their official code, in the layout of their published files. */
import { readdirSync, readFileSync } from 'node:fs'
import * as ort from '../../src/engine/runtime.js'
import type { GraphFile } from '../../src/graph/compile.js'
import { openSafetensors, type SafetensorsFile } from '../../src/io/safetensors.js'
import { goldenPath } from '../golden.js'

export interface Tolerance {
  rel_l2: number
  rel_max: number
}

export interface PeerExpected {
  family: string
  spec: Record<string, unknown> & { layers?: number[] }
  outputs: Record<string, { shape: number[]; dtype: string; tolerance?: Tolerance }>
}

export interface PeerCase {
  name: string
  folder: string
  expected: PeerExpected
  golden: SafetensorsFile
}

/** Names of the cases whose folder holds a file. */
export function peerCases(file = 'cases.safetensors'): string[] {
  return readdirSync(goldenPath('peers')).filter(
    (name) => name !== 'pos_embed' && readdirSync(goldenPath('peers')).includes(name) && hasFile(name, file),
  )
}

function hasFile(name: string, file: string): boolean {
  try {
    return readdirSync(goldenPath('peers', name)).includes(file)
  } catch {
    return false
  }
}

export async function openPeerCase(name: string): Promise<PeerCase> {
  const folder = goldenPath('peers', name)
  const expected = JSON.parse(readFileSync(goldenPath('peers', name, 'expected.json'), 'utf8')) as PeerExpected
  return { name, folder, expected, golden: await openSafetensors(goldenPath('peers', name, 'cases.safetensors')) }
}

/** ||a-b|| / ||b|| and max|a-b| / max|b|. */
export function relativeErrors(a: ArrayLike<number>, b: ArrayLike<number>): Tolerance {
  let [diff, norm, worst, largest] = [0, 0, 0, 0]
  for (let i = 0; i < b.length; i++) {
    const d = Math.abs(a[i]! - b[i]!)
    diff += d * d
    norm += b[i]! ** 2
    worst = Math.max(worst, Number.isNaN(d) ? Number.POSITIVE_INFINITY : d)
    largest = Math.max(largest, Math.abs(b[i]!))
  }
  return { rel_l2: Math.sqrt(diff / norm), rel_max: worst / largest }
}

/** Runs a compiled graph once. */
export async function runGraph(
  graph: GraphFile,
  feeds: Record<string, ort.Tensor>,
): Promise<Record<string, { data: ArrayLike<number>; dims: readonly number[] }>> {
  const session = await ort.InferenceSession.create(graph.path, { intraOpNumThreads: 2 })
  const results = await session.run(feeds)
  const out: Record<string, { data: ArrayLike<number>; dims: readonly number[] }> = {}
  for (const [name, tensor] of Object.entries(results))
    out[name] = { data: tensor.data as unknown as ArrayLike<number>, dims: tensor.dims }
  await session.release()
  return out
}

export { ort }
