/** Damaged pages of a Parquet shard of ours, which make its reader panic: an error or rejects, never a death. */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parquetMetadata } from 'hyparquet'
import { beforeAll, expect, it } from 'vitest'
import { runCli, sharedTempDir } from '../support/cli.js'
import { writePictures } from '../support/images.js'
import { readRejects } from '../support/parts.js'

const dir = sharedTempDir()
const at = (name: string): string => path.join(dir, name)
const shard = at('out/part-00000.parquet')

beforeAll(async () => {
  await writePictures(at('photos'), 3)
  const args = ['--outputs', 'latents,clip,pixels', '--format', 'parquet', '--image-size', '32']
  const run = await runCli(['encode', at('photos'), '--out', at('out'), ...args])
  expect(run.code, run.stderr).toBe(0)
  const bytes = readFileSync(shard)
  for (const { columns } of parquetMetadata(new Uint8Array(bytes).buffer).row_groups) {
    for (const { meta_data: column } of columns) {
      const page = Number(column!.data_page_offset)
      if (column!.path_in_schema.length > 1) bytes.fill(0xff, page, page + 8)
    }
  }
  writeFileSync(shard, bytes)
})

it.each([
  ['decode', [at('out'), '--out', at('pictures')]],
  ['index', [at('out'), '--out', at('index')]],
  ['stats', [shard]],
])('vtp %s names the file and ends with 3', async (command, args) => {
  const run = await runCli([command, ...args])
  expect(run.code, run.stderr).toBe(3)
  expect(run.stderr).toMatch(/part-00000\.parquet cannot be read: its pages are damaged\nTry: .*vtp verify/)
})

it('vtp verify finds it', async () => {
  const run = await runCli(['verify', at('out')])
  expect(run.code, run.stderr).toBe(1)
  expect(run.stdout + run.stderr).toMatch(/part-00000\.parquet has other content than its commit says/)
})

it('stored pixels in it become rejects', async () => {
  const run = await runCli(['encode', at('out'), '--out', at('again')])
  expect(run.code, run.stderr).toBe(1)
  expect(readRejects(at('again')).map(({ code }) => code)).toEqual(['unreadable', 'unreadable', 'unreadable'])
})
