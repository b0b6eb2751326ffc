/**
 * A folder as a store. Every object is written atomically (atomic.ts): a crash leaves the old one, the new one,
 * or a temporary file that nobody reads and the next run removes. Links inside the folder are not listed: it may
 * come from strangers.
 */
import { createHash } from 'node:crypto'
import { constants, createReadStream } from 'node:fs'
import { copyFile, type FileHandle, open, readdir, readFile, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { systemCode, VtpError } from '../errors.js'
import { isTemporary, removeLeftOvers, settle, settleIfAbsent, syncFile, temporaryName } from './atomic.js'
import { makeFolder } from './make-folder.js'
import { storageError } from './storage-error.js'
import type { Store } from './store.js'

/** Folders that a run writes to. */
const RUN_FOLDERS = ['', '_vtp', '_vtp/tmp', '_vtp/commits', '_vtp/attempts']
/** Where files wait for their commit, inside the folder so that they can be moved into place. */
const TEMP_DIR = '_vtp/tmp'

export function openLocalStore(root: string): Store {
  const folder = path.resolve(root)
  const resolve = (name: string): string => {
    const file = path.join(folder, name)
    if (name === '' || !file.startsWith(folder + path.sep) || name.includes('\0')) {
      throw new VtpError(`The name "${name}" leads out of ${folder}`, { code: 'bad_name' })
    }
    return file
  }

  /** Writes a synced temporary file beside `file`. */
  const writeTemp = async (file: string, bytes: Uint8Array): Promise<string> => {
    const tmp = temporaryName(file)
    await makeFolder(path.dirname(file))
    let handle: FileHandle | undefined
    try {
      handle = await open(tmp, 'wx')
      await handle.writeFile(bytes)
      await handle.sync()
    } catch (error) {
      await handle?.close().catch(() => {})
      handle = undefined
      await rm(tmp, { force: true }).catch(() => {})
      throw error
    } finally {
      await handle?.close()
    }
    return tmp
  }

  /** Gives a synced file its name; false when `ifAbsent` and the name is taken. */
  const give = async (tmp: string, file: string, ifAbsent: boolean): Promise<boolean> => {
    if (ifAbsent) return settleIfAbsent(tmp, file)
    await settle(tmp, file)
    return true
  }

  const write = async (name: string, bytes: Uint8Array, ifAbsent: boolean): Promise<boolean> => {
    const file = resolve(name)
    try {
      if (ifAbsent && (await exists(file))) return false
      const tmp = await writeTemp(file, bytes)
      try {
        return await give(tmp, file, ifAbsent)
      } finally {
        await rm(tmp, { force: true }).catch(() => {})
      }
    } catch (error) {
      throw storageError('Cannot write', file, error)
    }
  }

  return {
    uri: folder,
    async *list(prefix) {
      for await (const name of listNames(folder, prefix)) {
        const info = await stat(path.join(folder, name)).catch(() => undefined)
        if (info) yield { name, size: info.size, modifiedMs: info.mtimeMs }
      }
    },
    names: (prefix) => listNames(folder, prefix),
    async stat(name) {
      const file = resolve(name)
      try {
        const info = await stat(file)
        return { size: info.size, modifiedMs: info.mtimeMs }
      } catch (error) {
        if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return undefined
        throw storageError('Cannot look up', file, error)
      }
    },
    async get(name, range) {
      const file = resolve(name)
      try {
        if (!range) return await readFile(file)
        const handle = await open(file)
        try {
          const out = Buffer.alloc(range.size)
          const { bytesRead } = await handle.read(out, 0, range.size, range.offset)
          return out.subarray(0, bytesRead)
        } finally {
          await handle.close()
        }
      } catch (error) {
        throw storageError('Cannot read', file, error)
      }
    },
    put: async (name, bytes) => void (await write(name, bytes, false)),
    putIfAbsent: (name, bytes) => write(name, bytes, true),
    async putFile(name, source, { ifAbsent, keep = false, keepIfTaken = false, sha256 }) {
      const file = resolve(name)
      try {
        await makeFolder(path.dirname(file))
        let tmp = source
        if (keep || !source.startsWith(folder + path.sep)) {
          tmp = temporaryName(file)
          await copyFile(source, tmp, constants.COPYFILE_FICLONE)
        }
        await syncFile(tmp)
        if (sha256 !== undefined && (await hashFile(tmp)) !== sha256) {
          if (tmp !== source) await rm(tmp, { force: true })
          throw new VtpError(`${source} is not what was written to it: it does not become ${file}`, {
            code: 'file_changed',
            suggestions: ['check the disk of the output folder, and run the same command again'],
          })
        }
        const settled = await give(tmp, file, ifAbsent)
        if (tmp !== source) await rm(tmp, { force: true })
        if (!keep && (settled || !keepIfTaken)) await rm(source, { force: true })
        return settled
      } catch (error) {
        throw storageError('Cannot write', file, error)
      }
    },
    async delete(name) {
      const file = resolve(name)
      try {
        await rm(file, { force: true })
      } catch (error) {
        throw storageError('Cannot delete', file, error)
      }
    },
    async sha256(name) {
      const file = resolve(name)
      try {
        return await hashFile(file)
      } catch (error) {
        throw storageError('Cannot read', file, error)
      }
    },
    async tempDir() {
      const dir = path.join(folder, TEMP_DIR)
      try {
        await makeFolder(dir)
        for (const inner of RUN_FOLDERS) await removeLeftOvers(path.join(folder, inner))
      } catch (error) {
        throw storageError('Cannot make the folder', dir, error)
      }
      return dir
    },
    close: async () => {},
  }
}

async function hashFile(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

async function exists(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined)) !== undefined
}

async function* listNames(root: string, prefix: string): AsyncGenerator<string> {
  const slash = prefix.lastIndexOf('/')
  const start = slash < 0 ? '' : prefix.slice(0, slash)
  async function* walk(relative: string): AsyncGenerator<string> {
    const here = path.join(root, relative)
    const entries = await readdir(here, { withFileTypes: true }).catch((error: unknown) => {
      if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return []
      throw storageError('Cannot list', here, error)
    })
    // A folder sorts as its name with a slash, so that the whole listing is in the order of the names.
    const named = entries.map((entry) => ({ entry, sort: entry.isDirectory() ? `${entry.name}/` : entry.name }))
    named.sort((a, b) => (a.sort < b.sort ? -1 : a.sort > b.sort ? 1 : 0))
    for (const { entry } of named) {
      const name = relative ? `${relative}/${entry.name}` : entry.name
      if (entry.isDirectory()) {
        const inside = `${name}/`
        if (inside.startsWith(prefix) || prefix.startsWith(inside)) yield* walk(name)
      } else if (
        entry.isFile() &&
        name.startsWith(prefix) &&
        !isTemporary(entry.name) &&
        !name.startsWith(`${TEMP_DIR}/`)
      ) {
        yield name
      }
    }
  }
  yield* walk(start)
}
