/**
 * A folder as a store. An object is written to a temporary file, synced, and then takes its name by
 * rename (replace) or link (only if absent; claim and rename where there are no hard links), and the folder is synced: a crash leaves the old object, the
 * new one, or a `*.tmp-*` file that nobody reads. Links inside the folder are not listed: it may come from strangers.
 */
import { createHash, randomUUID } from 'node:crypto'
import { constants, createReadStream } from 'node:fs'
import { copyFile, type FileHandle, link, open, readdir, readFile, rename, rm, stat, unlink } from 'node:fs/promises'
import path from 'node:path'
import { errorText, systemCode, VtpError } from '../errors.js'
import { makeFolder } from './make-folder.js'
import type { Store } from './store.js'

const TEMP_MARK = '.tmp-'
/** Where files wait for their commit, inside the folder so that they can be moved into place. */
const TEMP_DIR = '_vtp/tmp'

const ADVICE: Record<string, string[]> = {
  ENOSPC: ['free space on that disk and run the same command again: it continues'],
  EDQUOT: ['your disk quota is used up: free space and run the same command again'],
  EACCES: ['choose a folder that you may write to'],
  EPERM: ['choose a folder that you may write to'],
  EROFS: ['that file system is read-only: choose another folder'],
  EMFILE: ['raise the limit of open files (`ulimit -n`) and run the same command again'],
  ENAMETOOLONG: ['choose a folder with a shorter path'],
  ENOTDIR: ['choose a folder that you may write to'],
  EEXIST: ['choose a folder that you may write to'],
}

const WORDS: Record<string, string> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  EMFILE: 'too many open files',
  ENOTDIR: 'a file is in its way',
  EEXIST: 'a file of that name is there',
}

/** A VtpError that says what failed and what to do; VtpErrors pass through. */
export function storageError(action: string, file: string, error: unknown): VtpError {
  if (error instanceof VtpError) return error
  const code = systemCode(error) ?? ''
  return new VtpError(`${action} ${file}: ${WORDS[code] ?? errorText(error)}`, {
    code: code === 'ENOENT' ? 'not_found' : code ? `storage_${code.toLowerCase()}` : 'storage_failed',
    suggestions: ADVICE[code] ?? [],
    cause: error,
  })
}

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
    const tmp = `${file}${TEMP_MARK}${randomUUID()}`
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

  /** Gives a finished temporary file its name; false when `ifAbsent` and the name is taken. */
  const settle = async (tmp: string, file: string, ifAbsent: boolean, keepIfTaken = false): Promise<boolean> => {
    if (ifAbsent) {
      let kept = false
      try {
        if (!(await linkOrClaim(tmp, file))) {
          kept = keepIfTaken
          return false
        }
      } finally {
        if (!kept) await unlink(tmp).catch(() => {})
      }
    } else await rename(tmp, file)
    await syncFolder(path.dirname(file))
    return true
  }

  const write = async (name: string, bytes: Uint8Array, ifAbsent: boolean): Promise<boolean> => {
    const file = resolve(name)
    try {
      if (ifAbsent && (await exists(file))) return false
      return await settle(await writeTemp(file, bytes), file, ifAbsent)
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
          tmp = `${file}${TEMP_MARK}${randomUUID()}`
          await copyFile(source, tmp, constants.COPYFILE_FICLONE)
        }
        const handle = await open(tmp, 'r+')
        await handle.sync().finally(() => handle.close())
        if (sha256 !== undefined && (await hashFile(tmp)) !== sha256) {
          if (tmp !== source) await rm(tmp, { force: true })
          throw new VtpError(`${source} is not what was written to it: it does not become ${file}`, {
            code: 'file_changed',
            suggestions: ['check the disk of the output folder, and run the same command again'],
          })
        }
        const settled = await settle(tmp, file, ifAbsent, keepIfTaken && tmp === source)
        if (!keep && tmp !== source && (settled || !keepIfTaken)) await rm(source, { force: true })
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

/** What file systems without hard links say (exFAT, SMB, some FUSE mounts). */
const NO_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']

/**
 * Gives the file a second name; false when that is taken. Without hard links the name is claimed by an empty
 * file, which the finished one replaces at once: a crash in between leaves the empty file.
 */
async function linkOrClaim(tmp: string, file: string): Promise<boolean> {
  try {
    await link(tmp, file)
    return true
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false
    if (!NO_LINKS.includes(systemCode(error) ?? '')) throw error
  }
  try {
    await (await open(file, 'wx')).close()
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false
    throw error
  }
  try {
    await rename(tmp, file)
  } catch (error) {
    await rm(file, { force: true })
    throw error
  }
  return true
}

async function exists(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined)) !== undefined
}

async function syncFolder(folder: string): Promise<void> {
  // Some file systems cannot sync a folder; what matters there is beyond us.
  const handle = await open(folder).catch(() => undefined)
  await handle?.sync().catch(() => {})
  await handle?.close()
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
        !entry.name.includes(TEMP_MARK) &&
        !name.startsWith(`${TEMP_DIR}/`)
      ) {
        yield name
      }
    }
  }
  yield* walk(start)
}
