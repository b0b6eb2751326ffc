import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { openLocalStore } from '../../io/local-store.js'
import { FOLDERS } from './layout.js'
import { assertOwnFolders } from './open-run.js'

it.each(FOLDERS)('a DEST whose folder %s is a link is refused', async (folder) => {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp-links-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  const elsewhere = path.join(dir, 'elsewhere')
  await mkdir(path.join(dir, 'out', path.dirname(folder)), { recursive: true })
  await mkdir(elsewhere)
  const store = openLocalStore(path.join(dir, 'out'))
  await assertOwnFolders(store)
  await symlink(elsewhere, path.join(dir, 'out', folder))
  await expect(assertOwnFolders(store)).rejects.toMatchObject({ code: 'linked_folder', exitCode: 2 })
})

it('DEST itself may be a link', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp-links-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  await mkdir(path.join(dir, 'out', '_vtp'), { recursive: true })
  await symlink(path.join(dir, 'out'), path.join(dir, 'link'))
  await assertOwnFolders(openLocalStore(path.join(dir, 'link')))
})
