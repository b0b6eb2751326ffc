import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { removeTemporary } from './gc.js'

it('removes temporary files of its own in every folder of a run, and nothing of others', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp-gc-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  const mine = 'tmp-0b1c2d3e-0000-4000-8000-000000000001'
  const theirs = ['notes.tmp-1', 'img_emb/img_emb_0.npy', 'part-00000.arrow']
  const ours = [`part-00000.arrow.${mine}`, `img_emb/img_emb_0.npy.${mine}`, `metadata/m.parquet.${mine}`, '_vtp/tmp/x']
  for (const name of [...ours, ...theirs]) {
    await mkdir(path.dirname(path.join(dir, name)), { recursive: true })
    await writeFile(path.join(dir, name), 'x')
  }
  const result = { out: dir, attempts: 0, files: 0, uploads: 0, bytes: 0, removed: [] as string[] }
  await removeTemporary(dir, result, () => true, false)
  expect(result.removed.sort()).toEqual(ours.sort())
  const left = (await readdir(dir, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
  expect(left.map(({ parentPath, name }) => path.relative(dir, path.join(parentPath, name))).sort()).toEqual(
    theirs.sort(),
  )
})
