/**
 * The local cache: compiled graphs, weight blobs and digests of checkpoints. Every entry is written under
 * a temporary name and renamed, so processes that share it never see half a file; all of it can be
 * deleted at any time.
 */
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'
import { makeFolder } from './make-folder.js'

/** `$VTP_CACHE`, else `$XDG_CACHE_HOME/vtp`, else `~/.cache/vtp`. */
export function defaultCacheDir(env: NodeJS.ProcessEnv = process.env): string {
  if (env.VTP_CACHE) return path.resolve(env.VTP_CACHE)
  return path.join(env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'vtp')
}

let counter = 0

/** Makes `file` atomically: `write` fills a temporary file that then takes its name. */
export async function writeAtomically(file: string, write: (tmp: string) => Promise<void>): Promise<void> {
  await makeFolder(path.dirname(path.resolve(file)))
  const tmp = `${file}.tmp-${process.pid}-${counter++}`
  try {
    await write(tmp)
    await rename(tmp, file)
  } catch (error) {
    await rm(tmp, { force: true })
    throw error
  }
}

/** A small JSON entry; undefined when it is absent or damaged. */
export async function readCachedJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'))
  } catch {
    return undefined
  }
}

export async function writeCachedJson(file: string, value: unknown): Promise<void> {
  await writeAtomically(file, (tmp) => writeFile(tmp, JSON.stringify(value)))
}
