import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import { describeStore } from '../../test/support/store-conformance.js'
import { openStore } from './store.js'

describeStore('a local folder', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp store '))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return openStore(path.join(dir, 'made on first write'))
})
