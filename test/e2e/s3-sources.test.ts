/** Every kind of source is in a bucket what it is on a disk: the same keys, labels, captions, notes and bytes. */
import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openSource } from '../../src/io/sources/index.js'
import { repoRoot, sharedTempDir } from '../support/cli.js'
import { encodedPicture } from '../support/images.js'
import { BUILD_TIMEOUT_MS, type Gateway, startGateway, withEnv } from '../support/s3-gateway.js'

const tables = path.join(repoRoot, 'fixtures', 'tables')
const dir = sharedTempDir()
let gateway: Gateway
let image: Buffer

beforeAll(async () => {
  gateway = await startGateway()
  image = await encodedPicture(1, 24, 20, 'jpeg')
}, BUILD_TIMEOUT_MS)
afterAll(() => gateway.close())

async function tarOf(names: string[]): Promise<Buffer> {
  const archive = pack()
  for (const name of names) archive.entry({ name }, name.endsWith('.jpg') ? image : '3')
  archive.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of archive as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}

interface Kind {
  kind: string
  /** Writes it into a folder; what is opened there, where that is not the folder itself. */
  make(folder: string): Promise<string | undefined> | string | undefined
  count: number
}

const write = (folder: string, files: Record<string, string | Buffer>): void => {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true })
    writeFileSync(path.join(folder, name), content)
  }
}

const KINDS: Kind[] = [
  {
    kind: 'a folder of tars, and what else lies there',
    async make(folder) {
      const other = await tarOf(['1.jpg'])
      write(folder, { 'a.tar': await tarOf(['0.jpg', '0.cls']), 'b.tar': other, 'notes.md': 'x', 'c/d.txt': 'x' })
      return undefined
    },
    count: 2,
  },
  {
    kind: 'a folder of Parquet files',
    make: (folder) => void cpSync(path.join(tables, 'hub.parquet'), path.join(folder, 'train.parquet')),
    count: 4,
  },
  {
    kind: 'a folder of datasets.save_to_disk',
    make: (folder) => cpSync(path.join(tables, 'saved'), folder, { recursive: true }) as undefined,
    count: 4,
  },
  {
    kind: 'captions beside images in class folders',
    make: (folder) => write(folder, { 'a/0.jpg': image, 'a/0.txt': 'a dog', 'b/1.jpg': image }) as undefined,
    count: 2,
  },
  {
    kind: 'a .tar.gz',
    async make(folder) {
      write(folder, { 'a.tar.gz': gzipSync(await tarOf(['0.jpg', '0.cls', '1.jpg'])) })
      return 'a.tar.gz'
    },
    count: 2,
  },
  {
    kind: 'a table with a header',
    make(folder) {
      write(folder, { 'pics/0.jpg': image, 'list.csv': 'path,label,caption\npics/0.jpg,cat,"a cat, asleep"\n' })
      return 'list.csv'
    },
    count: 1,
  },
]

/** Everything that a source tells. */
async function contents(spec: string): Promise<unknown> {
  const source = await openSource(spec, { metadata: true })
  try {
    const entries = []
    for await (const entry of source.list()) {
      const { key, label, caption, metadata } = entry
      entries.push({ key, label, caption, metadata, bytes: Buffer.from(await source.read(entry)).toString('base64') })
    }
    const { kind, classes, passedOver, notes } = source
    return { kind, classes, passedOver, notes, entries }
  } finally {
    await source.close()
  }
}

it.each(KINDS)('$kind', async ({ kind, make, count }) => {
  const name = kind.replaceAll(/\W+/g, '-')
  const folder = path.join(dir, name)
  mkdirSync(folder, { recursive: true })
  const file = await make(folder)
  cpSync(folder, path.join(gateway.folder, 'bucket', name), { recursive: true })
  const local = (await contents(path.join(folder, file ?? ''))) as { entries: unknown[] }
  expect(local.entries).toHaveLength(count)
  const address = file === undefined ? `s3://bucket/${name}` : `s3://bucket/${name}/${file}`
  expect(await withEnv(gateway.env, () => contents(address))).toEqual(local)
})
