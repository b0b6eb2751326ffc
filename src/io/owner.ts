/**
 * Whose a temporary file or a claim is, and whether its process lives. A process number means something only in
 * its place: one machine, one boot, one namespace of numbers (containers count from 1, and may share a disk).
 */
import { createHash } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { systemCode } from '../errors.js'

function attempt(read: () => string): string {
  try {
    return read().trim()
  } catch {
    // Not Linux: the host's name has to do.
    return ''
  }
}

/** Where this process's number means this process. */
export const thisPlace = [
  hostname(),
  attempt(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')),
  attempt(() => readlinkSync('/proc/self/ns/pid')),
]
  .join(' ')
  .trim()

/** Whether a process of this place runs; another user's counts, too. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return systemCode(error) === 'EPERM'
  }
}

/**
 * When a process started, which tells it from a later one of its number: field 22 of /proc/PID/stat. Null where that
 * cannot be read, as on other systems. A zombie has none.
 */
export async function startOf(pid: number): Promise<string | null> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  if (text === undefined) return null
  const [state, ...rest] = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return state === 'Z' ? 'ended' : (rest[18] ?? null)
}

/** A mark in the text of a regular expression: `0123abcd-4711`. */
export const OWNER_MARK = '[0-9a-f]{8}-\\d+'

const placeMark = createHash('sha256').update(thisPlace).digest('hex').slice(0, 8)

/** The mark of this process, short enough for a file's name. */
export const ownMark = `${placeMark}-${process.pid}`

/** Whether the owner has ended; undefined where that cannot be seen from here. */
export function hasEnded(mark: string): boolean | undefined {
  const [place, pid] = mark.split('-')
  return place === placeMark ? !isAlive(Number(pid)) : undefined
}
