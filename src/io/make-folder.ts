import { mkdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { systemCode } from '../errors.js'

/**
 * Makes a folder and those above it. Unlike Node's recursive mkdir it fails with the reason (EROFS, EACCES,
 * ENOTDIR) where that says ENOENT, and does not try for ever where the file system refuses with ENOENT.
 */
export async function makeFolder(folder: string): Promise<void> {
  const isFolder = async (name: string): Promise<boolean> =>
    (await stat(name).catch(() => undefined))?.isDirectory() ?? false
  try {
    await mkdir(folder)
  } catch (error) {
    if (await isFolder(folder)) return
    const parent = path.dirname(folder)
    if (systemCode(error) !== 'ENOENT' || parent === folder) throw error
    await makeFolder(parent)
    // Where the folder above was there all along, this fails as the first try did.
    await mkdir(folder).catch(async (again: unknown) => {
      if (!(await isFolder(folder))) throw again
    })
  }
}
