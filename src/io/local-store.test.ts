import * as fs from 'node:fs/promises'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { describeStore } from '../../test/support/store-conformance.js'
import { openStore } from './open-store.js'
import type { Store } from './store.js'

vi.mock('node:fs/promises', { spy: true })

async function open(): Promise<Store> {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp store '))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return openStore(path.join(dir, 'made on first write'))
}

describeStore('a local folder', async () => {
  vi.mocked(fs.link).mockReset()
  return open()
})

describeStore('a folder without hard links', async () => {
  vi.mocked(fs.link).mockRejectedValue(Object.assign(new Error('no links'), { code: 'ENOTSUP' }))
  return open()
})

it('takes no file that has changed since it was finished', async () => {
  const store = await open()
  const file = path.join(await store.tempDir(), 'part')
  await writeFile(file, 'damaged')
  const put = store.putFile('part', file, { ifAbsent: true, sha256: '0'.repeat(64) })
  await expect(put).rejects.toMatchObject({ code: 'file_changed' })
  expect(await store.stat('part')).toBeUndefined()
})
