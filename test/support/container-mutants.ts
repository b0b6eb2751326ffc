/**
 * Damaged containers, the same for the same seed: tars, Parquet files, safetensors, checkpoints of torch, npz and JSON
 * lines. A tar's header sums are mended after most damage, for a wrong sum would hide what lies behind it.
 */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import tar from 'tar-stream'
import { encodeNpz } from '../../src/io/numpy/npz.js'
import { encodeSafetensorsHeader } from '../../src/io/safetensors.js'
import { encodeLatentsStats } from '../../src/io/torch-stats.js'
import { encodedPicture } from './images.js'
import { DAMAGES, seededRandom } from './mutants.js'

export const CONTAINERS = ['tar', 'tar.gz', 'parquet', 'safetensors', 'pt', 'npz', 'jsonl'] as const
export type Container = (typeof CONTAINERS)[number]

export interface ContainerMutant {
  container: Container
  bytes: Uint8Array
}

const repo = fileURLToPath(new URL('../..', import.meta.url))
const table = (name: string): Buffer => readFileSync(path.join(repo, 'fixtures', 'tables', name))

/** Small sound files of each kind. */
async function originals(): Promise<Record<Container, Uint8Array[]>> {
  const image = await encodedPicture(1, 24, 20, 'jpeg')
  const archive = await tarOf([
    ['train/0.jpg', image],
    ['train/0.cls', '3'],
    ['train/0.json', '{"caption": "a dog", "label": 3, "width": NaN}'],
    [`${'deep/'.repeat(40)}1.jpg`, image],
    ['../../2.jpg', image],
    ['2.txt', 'words'],
  ])
  const header = encodeSafetensorsHeader([
    { name: 'a', dtype: 'F32', shape: [2, 3] },
    { name: 'b', dtype: 'I64', shape: [2] },
  ])
  const lines = [
    { uri: 'pics/0.jpg', label: 1, caption: 'a', more: { list: [1, 2, null] } },
    { uri: 's3://bucket/key', label: 'cat', key: 'k' },
    { uri: 'https://example.org/a.jpg?x=1', label: 2.5 },
  ]
  return {
    tar: [archive, Buffer.concat([archive, archive])],
    'tar.gz': [gzipSync(archive)],
    parquet: ['hub.parquet', 'paths.parquet', 'two.parquet', 'odd.parquet', 'links.parquet'].map(table),
    safetensors: [Buffer.concat([header.bytes, Buffer.alloc(40, 1)])],
    pt: [Buffer.from(encodeLatentsStats(new Float32Array([0.5, 1, 2]), new Float32Array([1, 2, 3])))],
    npz: [
      encodeNpz([
        { name: 'mu', shape: [3], data: new Float64Array(3) },
        { name: 'arr_0', shape: [1, 2, 2, 3], data: new Float64Array(12) },
      ]),
    ],
    jsonl: [Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))],
  }
}

/** The mutants with these numbers; each number is its own seed, so that one can be made again alone. */
export async function createContainerMutants(seed: number): Promise<(number: number) => ContainerMutant> {
  const sound = await originals()
  const all = Object.values(sound).flat()
  const kinds = Object.values(DAMAGES)
  return (number) => {
    const random = seededRandom(seed * 1_000_003 + number)
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!
    const container = CONTAINERS[number % CONTAINERS.length]!
    let bytes = pick(kinds)(pick(sound[container]), random, random() < 0.8 ? pick(sound[container]) : pick(all))
    if (random() < 0.3 && bytes.length > 0) bytes = pick(kinds)(bytes, random, pick(all))
    return { container, bytes: container === 'tar' && random() < 0.8 ? mendSums(bytes) : bytes }
  }
}

const TAR_BLOCK = 512

function mendSums(bytes: Uint8Array): Uint8Array {
  const out = Buffer.from(bytes)
  for (let at = 0; at + TAR_BLOCK <= out.length; at += TAR_BLOCK) {
    if (out.toString('latin1', at + 257, at + 262) !== 'ustar') continue
    out.fill(0x20, at + 148, at + 156)
    let sum = 0
    for (let i = 0; i < TAR_BLOCK; i++) sum += out[at + i]!
    out.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1')
  }
  return out
}

async function tarOf(members: [name: string, content: string | Buffer][]): Promise<Buffer> {
  const pack = tar.pack()
  for (const [name, content] of members) pack.entry({ name }, content)
  pack.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of pack as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}
