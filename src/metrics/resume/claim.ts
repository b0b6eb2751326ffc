/**
 * Folders of work in progress in the cache, one per key. A process takes a folder by renaming it to a name
 * that says who has it, so two never share one: the second begins a folder of its own. One whose owner is
 * dead is taken over. On other machines only the folder's time tells of that: owners touch it every minute.
 */
import { mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'
import { systemCode } from '../../errors.js'
import { isAlive } from '../../io/is-alive.js'
import { makeFolder } from '../../io/make-folder.js'

export interface Claim {
  readonly dir: string
  /** Leaves the folder to whoever continues. */
  release(): Promise<void>
  /** Deletes it. */
  remove(): Promise<void>
}

const TOUCH_MS = 60_000
const SILENT_MS = 10 * TOUCH_MS
const FORGOTTEN_MS = 30 * 24 * 3600 * 1000

/** Folders that this process has. */
const held = new Set<string>()
let counter = 0

/** Takes the folder of `key` that an interrupted process left below `root`, or makes a new one. */
export async function claimFolder(root: string, key: string): Promise<Claim> {
  await makeFolder(path.resolve(root))
  await removeForgotten(root)
  const mine = `${key}.${process.pid}-${counter++}.${hostname()}`
  const dir = path.join(root, mine)
  held.add(mine)
  let taken = false
  for (const name of (await readdir(root)).sort()) {
    if (taken || name === mine || !(name === key || name.startsWith(`${key}.`)) || !(await isFree(root, name))) continue
    taken = await move(path.join(root, name), dir)
  }
  if (!taken) await mkdir(dir, { recursive: true })
  const touch = async (): Promise<void> => utimes(dir, new Date(), new Date()).catch(() => {})
  await touch()
  const timer = setInterval(() => void touch(), TOUCH_MS)
  timer.unref()
  const leave = (): void => {
    clearInterval(timer)
    held.delete(mine)
  }
  const remove = async (): Promise<void> => {
    leave()
    await rm(dir, { recursive: true, force: true })
  }
  return {
    dir,
    remove,
    async release() {
      leave()
      // Where another process has left one, too, one is enough.
      if (!(await move(dir, path.join(root, key)))) await remove()
    },
  }
}

/** Whether a folder has no living owner. */
async function isFree(root: string, name: string): Promise<boolean> {
  const owner = /^[^.]+\.(\d+)-\d+\.(.*)$/.exec(name)
  if (!owner) return true
  if (held.has(name)) return false
  const [, pid, host] = owner
  if (host === hostname()) return Number(pid) === process.pid || !isAlive(Number(pid))
  return (await ageMs(path.join(root, name))) > SILENT_MS
}

async function ageMs(dir: string): Promise<number> {
  const info = await stat(dir).catch(() => undefined)
  return info ? Date.now() - info.mtimeMs : 0
}

/** False when there is nothing to move any more, or something in its new place. */
async function move(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to)
    return true
  } catch (error) {
    if (['ENOENT', 'ENOTEMPTY', 'EEXIST', 'EPERM'].includes(systemCode(error) ?? '')) return false
    throw error
  }
}

/** Nobody comes back to these. */
async function removeForgotten(root: string): Promise<void> {
  for (const name of await readdir(root)) {
    const dir = path.join(root, name)
    if ((await ageMs(dir)) > FORGOTTEN_MS && (await isFree(root, name))) await rm(dir, { recursive: true, force: true })
  }
}
