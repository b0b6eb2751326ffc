/** Retrieval over a bucket: images and embeddings lie there, the index is local. */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { repoRoot, runCli } from '../support/cli.js'
import { type Gateway, startGateway } from '../support/s3-gateway.js'
import { type RunningServer, startServe } from '../support/search-server.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp search s3 '))
const fixtures = path.join(repoRoot, 'fixtures', 'images')
let gateway: Gateway
let server: RunningServer | undefined

beforeAll(async () => {
  gateway = await startGateway()
  const images = path.join(gateway.folder, 'bucket', 'images')
  mkdirSync(images, { recursive: true })
  for (const name of ['people and animals/chelsea the cat.png', 'things/coffee.webp', 'textures and sky/moon.png'])
    copyFileSync(path.join(fixtures, name), path.join(images, path.basename(name)))
}, 300_000)
afterAll(async () => {
  await server?.stop()
  await gateway.close()
  rmSync(dir, { recursive: true, force: true })
})

it('images of a bucket are embedded, indexed, found and shown', async () => {
  const index = path.join(dir, 'index')
  const steps = [
    ['embed', 's3://bucket/images', '--out', 's3://bucket/embeddings'],
    ['index', 's3://bucket/embeddings', '--out', index],
    ['search', index, path.join(fixtures, 'people and animals', 'chelsea the cat.png'), '--json'],
  ]
  let stdout = ''
  for (const args of steps) {
    const run = await runCli(args, { env: gateway.env })
    expect(run.code, run.stderr).toBe(0)
    stdout = run.stdout
  }
  const [first] = (JSON.parse(stdout) as { results: { row: number; uri: string; shard: string; missing: boolean }[] })
    .results
  expect(first).toMatchObject({
    uri: 's3://bucket/images/chelsea the cat.png',
    shard: 's3://bucket/embeddings/part-00000.parquet',
    missing: false,
  })
  server = await startServe(index, gateway.env)
  const picture = await fetch(new URL(`api/thumbnails/${first!.row}`, server.url))
  expect([picture.status, picture.headers.get('content-type')]).toEqual([200, 'image/webp'])
}, 180_000)

it('embeddings of a bucket are labelled as they are, and known again by their content', async () => {
  const cli = (...args: string[]) => runCli(args, { env: gateway.env })
  const labels = path.join(dir, 'labels.txt')
  writeFileSync(labels, 'a cat\nthe moon\n')
  const classified = await cli('classify', 's3://bucket/embeddings', '--labels', labels)
  expect(classified.code, classified.stderr).toBe(0)
  expect(classified.stdout.trimEnd().split('\n').length).toBe(3)

  const [index, again] = [
    path.join(dir, 'index'),
    ['index', 's3://bucket/embeddings', '--out', path.join(dir, 'index')],
  ]
  expect(JSON.parse((await cli(...again, '--json')).stdout)).toMatchObject({ rows: 3, added: 0 })
  rmSync(path.join(gateway.folder, 'bucket', 'embeddings'), { recursive: true })
  const other = await cli('embed', path.join(fixtures, 'things'), '--out', 's3://bucket/embeddings')
  expect(other.code, other.stderr).toBe(0)
  const append = await cli(...again, '--append')
  expect([append.code, append.stderr]).toEqual([2, expect.stringMatching(/has changed since .* was built/)])
  expect(JSON.parse((await cli(...again, '--json')).stdout)).toMatchObject({ rows: 5, added: 5, out: index })
}, 180_000)
