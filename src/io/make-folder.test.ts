import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { makeFolder } from './make-folder.js'

it('many at once make one folder, and a file in the way is said', async () => {
  const root = mkdtempSync(path.join(tmpdir(), 'vtp folder '))
  onTestFinished(() => rmSync(root, { recursive: true, force: true }))
  for (let round = 0; round < 20; round++) {
    const folders = Array.from({ length: 8 }, (_, i) => path.join(root, `${round}`, 'a', 'b', `${i % 2}`))
    await Promise.all(folders.map(makeFolder))
    for (const folder of folders) expect(statSync(folder).isDirectory()).toBe(true)
  }
  writeFileSync(path.join(root, 'file'), '')
  await expect(makeFolder(path.join(root, 'file', 'a'))).rejects.toMatchObject({ code: 'ENOTDIR' })
  await expect(makeFolder(path.join(root, 'file'))).rejects.toMatchObject({ code: 'EEXIST' })
})
