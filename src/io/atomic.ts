/**
 * Files that are there whole or not at all. What is written goes to a temporary name that no other writer uses,
 * is synced, and takes its name by rename (replace) or link (only if absent); then the folder is synced. What a
 * killed process leaves under a temporary name is removed by the next one that writes to the folder.
 */
import { randomUUID } from 'node:crypto'
import { link, open, readdir, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { systemCode } from '../errors.js'
import { makeFolder } from './make-folder.js'
import { hasEnded, OWNER_MARK, ownMark } from './owner.js'

const TEMPORARY = new RegExp(`\\.tmp-(?:(${OWNER_MARK})-)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
/** Names may have 255 bytes; the ending takes up to 60. */
const NAME_BYTES = 180
/** A file of an owner that cannot be seen from here, untouched for so long, has none. */
const FORGOTTEN_MS = 24 * 3600 * 1000

/** A name beside `file` that no other writer uses, anywhere. */
export function temporaryName(file: string): string {
  const { dir, base } = path.parse(file)
  let kept = base
  while (Buffer.byteLength(kept) > NAME_BYTES) kept = kept.slice(0, -1)
  return path.join(dir, `${kept}.tmp-${ownMark}-${randomUUID()}`)
}

/** What a file under a temporary name will be called. */
export function finalName(file: string): string {
  return file.replace(TEMPORARY, '')
}

/** Whether a file's name is one of `temporaryName`. */
export function isTemporary(name: string): boolean {
  return TEMPORARY.test(name)
}

/** Makes or replaces `file`: `write` fills a temporary file that then takes its name. */
export async function writeAtomically(file: string, write: (tmp: string) => Promise<void>): Promise<void> {
  const folder = path.dirname(path.resolve(file))
  await makeFolder(folder)
  await removeLeftOversOnce(folder)
  const tmp = temporaryName(file)
  try {
    await write(tmp)
    await syncFile(tmp)
    await settle(tmp, file)
  } catch (error) {
    await rm(tmp, { force: true }).catch(() => {})
    throw error
  }
}

/** Gives a synced file its name, in place of what has it. */
export async function settle(tmp: string, file: string): Promise<void> {
  await rename(tmp, file)
  await syncFolder(path.dirname(file))
}

/** Gives a synced file its name; false, with the file where it was, when the name is taken. */
export async function settleIfAbsent(tmp: string, file: string): Promise<boolean> {
  if (!(await linkOrClaim(tmp, file))) return false
  await rm(tmp, { force: true }).catch(() => {})
  await syncFolder(path.dirname(file))
  return true
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

export async function syncFile(file: string): Promise<void> {
  const handle = await open(file, 'r+')
  await handle.sync().finally(() => handle.close())
}

/** Some file systems cannot sync a folder; what matters there is beyond us. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder).catch(() => undefined)
  await handle?.sync().catch(() => {})
  await handle?.close()
}

const swept = new Set<string>()

async function removeLeftOversOnce(folder: string): Promise<void> {
  if (swept.has(folder)) return
  swept.add(folder)
  await removeLeftOvers(folder)
}

/** Removes the temporary files of processes that have ended. Never throws: another process may be at it, too. */
export async function removeLeftOvers(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const match = TEMPORARY.exec(name)
    if (!match) continue
    const file = path.join(folder, name)
    const ended = match[1] === undefined ? undefined : hasEnded(match[1])
    if (ended ?? (await isForgotten(file))) await rm(file, { force: true, recursive: true }).catch(() => {})
  }
}

async function isForgotten(file: string): Promise<boolean> {
  const info = await stat(file).catch(() => undefined)
  return info !== undefined && Date.now() - info.mtimeMs > FORGOTTEN_MS
}
