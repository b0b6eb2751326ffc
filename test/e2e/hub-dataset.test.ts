/** Datasets of a hub as SOURCE, through the built program and a stand-in for the hub. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import tar from 'tar-stream'
import { beforeAll, expect, it } from 'vitest'
import { type CliResult, repoRoot, runCli, tempDir } from '../support/cli.js'
import { COMMIT_A, COMMIT_B, type HubFile, type HubServer, startHub } from '../support/hub-server.js'
import { encodedPicture } from '../support/images.js'
import { outputHashes, readRows } from '../support/parts.js'

const QUICK = ['--image-size', '16', '--transform', 'resize(16,16,bilinear)', '--workers', '1', '--outputs', 'pixels']
const NAME = 'org/photos'
let files: Record<string, HubFile>

beforeAll(async () => {
  const images = await Promise.all([0, 1, 2].map((i) => encodedPicture(i, 24, 20, 'jpeg')))
  const pack = tar.pack()
  for (const [i, bytes] of images.entries()) {
    pack.entry({ name: `${i}.jpg` }, bytes)
    pack.entry({ name: `${i}.cls` }, String(i))
  }
  pack.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of pack as AsyncIterable<Buffer>) chunks.push(chunk)
  files = {
    'README.md': { bytes: Buffer.from('# photos') },
    'data/train-0.parquet': { bytes: readFileSync(path.join(repoRoot, 'fixtures/tables/hub.parquet')), lfs: true },
    'tars/a.tar': { bytes: Buffer.concat(chunks), lfs: true },
    'pics/a/0.jpg': { bytes: images[0]!, lfs: true },
    'pics/b/1.jpg': { bytes: images[1]! },
  }
})

const start = (more: object = {}): Promise<HubServer> =>
  startHub({ name: NAME, dataset: true, files, revisions: { main: COMMIT_A, v1: COMMIT_B }, ...more })

function encode(hub: HubServer, source: string, out: string, env: Record<string, string> = {}): Promise<CliResult> {
  const all = { HF_ENDPOINT: hub.endpoint, HF_HOME: path.dirname(out), HF_TOKEN: '', ...env }
  return runCli(['encode', source, '--out', out, ...QUICK], { env: all })
}

it.each([
  ['Parquet by a pattern', `hf://datasets/${NAME}/data/*.parquet`, 'fixtures/tables/hub.parquet', [2, 0, 1, null]],
  ['a tar of a revision', `hf://datasets/${NAME}@v1/tars/a.tar`, undefined, [0, 1, 2]],
  ['images by a pattern', `hf://datasets/${NAME}/pics/**/*.jpg`, undefined, [null, null]],
  ['the whole dataset: its Parquet files', `hf://datasets/${NAME}`, undefined, [2, 0, 1, null]],
])('%s', async (_, source, local, labels) => {
  const [hub, dir] = [await start(), tempDir()]
  const run = await encode(hub, source, path.join(dir, 'out'))
  expect(run.stderr + run.code).toMatch(/0$/)
  const rows = await readRows(path.join(dir, 'out'))
  expect(rows.map(({ label }) => label)).toEqual(labels)
  // Addresses name the commit, and hold nothing of where the bytes came from.
  const commit = source.includes('@v1') ? COMMIT_B : COMMIT_A
  for (const { uri } of rows) expect(uri).toContain(`hf://datasets/${NAME}@${commit}/`)
  expect(hub.requests.filter(({ path }) => path.includes('README'))).toEqual([])
  if (!local) return
  // The same rows as from a disk: all but their addresses.
  const other = path.join(dir, 'local')
  expect((await runCli(['encode', path.join(repoRoot, local), '--out', other, ...QUICK])).code).toBe(0)
  const strip = (list: typeof rows) => list.map(({ key, label, caption }) => [path.basename(key), label, caption])
  expect(strip(rows)).toEqual(strip(await readRows(other)))
})

it('a private dataset needs the token, which goes to the hub alone', async () => {
  const [hub, dir] = [await start({ token: 'hf_secret' }), tempDir()]
  const source = `hf://datasets/${NAME}/tars/*.tar`
  const refused = await encode(hub, source, path.join(dir, 'out'))
  expect([refused.code, refused.stderr]).toEqual([3, expect.stringContaining('HF_TOKEN')])
  const run = await encode(hub, source, path.join(dir, 'out'), { HF_TOKEN: 'hf_secret' })
  expect(run.stderr + run.code).toMatch(/0$/)
  for (const { server, authorization } of hub.requests) if (server === 'cdn') expect(authorization).toBeUndefined()
  expect(run.stderr).not.toContain('hf_secret')
})

it('cut connections and errors of the server are tried again; the bytes are right', async () => {
  const [hub, dir] = [await start(), tempDir()]
  const source = `hf://datasets/${NAME}/tars/a.tar`
  expect((await encode(hub, source, path.join(dir, 'a'))).code).toBe(0)
  hub.faults.push({ kind: 'status', status: 503 }, { kind: 'cut', afterBytes: 0 })
  const run = await encode(hub, source, path.join(dir, 'b'))
  expect(run.stderr + run.code).toMatch(/0$/)
  expect(hub.faults).toEqual([])
  expect(outputHashes(path.join(dir, 'b'))).toEqual(outputHashes(path.join(dir, 'a')))
})

it.each([
  ['a pattern without files', `hf://datasets/${NAME}/x/*.tar`, 'data/'],
  ['a dataset that is not there', 'hf://datasets/org/none/a.tar', 'no dataset org/none'],
  ['a revision that is not there', `hf://datasets/${NAME}@v9/tars/a.tar`, 'no revision'],
  ['an address of no dataset', 'hf://org/photos/a.tar', 'hf://datasets/ORG/NAME'],
])('%s is an error that says what is wrong', async (_, source, text) => {
  const [hub, dir] = [await start(), tempDir()]
  const run = await encode(hub, source, path.join(dir, 'out'))
  expect([run.code, run.stderr]).toEqual([2, expect.stringContaining(text)])
})
