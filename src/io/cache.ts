/**
 * The local cache: compiled graphs, weight blobs and digests of checkpoints. Every entry is written atomically, so
 * processes that share it never see half a file; all of it can be deleted at any time. Where its place cannot be
 * written to (a container's user without a home), the process has a cache of its own, which goes with it.
 */
import { accessSync, constants, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import path from 'node:path'
import { errorText, usageError } from '../errors.js'
import { writeAtomically } from './atomic.js'

/** `$VTP_CACHE`, else `$XDG_CACHE_HOME/vtp`, else `~/.cache/vtp`. */
export function namedCacheDir(env: NodeJS.ProcessEnv = process.env): string {
  if (env.VTP_CACHE) return path.resolve(env.VTP_CACHE)
  return path.join(env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'vtp')
}

let tell: (line: string) => void = () => {}
/** Of this process, where the usual one cannot be made. */
let own: string | undefined

/** Who tells people that there is no lasting cache. */
export function onCacheNote(note: (line: string) => void): void {
  tell = note
}

/** The named folder; one for this process alone where that neither is there nor can be made. Throws usage error `cache_unwritable`. */
export function defaultCacheDir(env: NodeJS.ProcessEnv = process.env): string {
  const named = namedCacheDir(env)
  if (existsSync(named)) return named
  const why = whyNotWritable(named)
  if (why === undefined) return named
  const suggestions = ['set VTP_CACHE to a folder that can be written to']
  if (env.VTP_CACHE)
    throw usageError('cache_unwritable', `VTP_CACHE=${env.VTP_CACHE} cannot be made: ${why}`, suggestions)
  if (own) return own
  try {
    own = mkdtempSync(path.join(tmpdir(), 'vtp-cache-'))
  } catch (error) {
    throw usageError('cache_unwritable', `There is no place for a cache: ${why}, ${errorText(error)}`, suggestions)
  }
  const folder = own
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  tell(`The cache ${named} cannot be made (${why}): compiled models are not kept. VTP_CACHE names a folder for them.`)
  return own
}

function whyNotWritable(folder: string): string | undefined {
  let above = folder
  while (!existsSync(above)) above = path.dirname(above)
  try {
    accessSync(above, constants.W_OK | constants.X_OK)
    return undefined
  } catch (error) {
    return errorText(error)
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

/** Keeps an entry where that is possible: what is not kept is computed again. */
export async function writeCachedJson(file: string, value: unknown): Promise<void> {
  await writeAtomically(file, (tmp) => writeFile(tmp, JSON.stringify(value))).catch(() => {})
}
