/**
 * A folder that one process at a time works in. A claim is a file of its own in the folder: whoever wants it
 * writes a claim, then looks for others, and withdraws where a living one is there. Of two, the later always sees
 * the earlier, so never both have it; where each saw the other, both try again. This needs nothing of a file
 * system but that a file that was written is listed.
 *
 * Whether an owner lives: its process is asked for where the number means the same process (one machine, one boot,
 * one PID namespace: containers count from 1) and started when the claim says. Any other owner is dead when it has
 * not touched its claim for a while; owners touch it every few seconds.
 */
import { randomUUID } from 'node:crypto'
import { open, readdir, readFile, rm, rmdir, stat, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemCode, VtpError } from '../errors.js'
import { makeFolder } from './make-folder.js'
import { isAlive, startOf, thisPlace } from './owner.js'

export interface Claim {
  /** Throws VtpError `claim_lost` where another process has taken this one for dead. */
  assertHeld(): Promise<void>
  release(): Promise<void>
}

/** Who has a folder, as its claim says. */
interface Owner {
  pid: number
  host: string
  /** Where `pid` means the same process. */
  place: string
  /** When it started, in the kernel's own count; what tells it from a later process of that number. */
  started: string | null
}

const PREFIX = 'claim-'
const TOUCH_MS = 5_000
const SILENT_MS = 60_000
const ATTEMPTS = 8

/** Claims of this process. */
const ours = new Set<string>()

export interface ClaimOptions {
  /** Told where it takes time to learn whether an owner lives. */
  onNote?: (line: string) => void
}

/** Claims a folder, which is made. Throws VtpError `in_use` when another process has it. */
export async function claimFolder(dir: string, what: string, { onNote }: ClaimOptions = {}): Promise<Claim> {
  for (let attempt = 0; ; attempt++) {
    const found = await tryClaim(dir)
    if ('release' in found) return found
    if (found.silence && (await fallsSilent(found.file, found.owner, what, onNote))) continue
    if (attempt < ATTEMPTS && !found.silence) {
      await sleep(10 + Math.random() * 90)
      continue
    }
    throw new VtpError(`Another process works on ${what}: ${describe(found.owner)}`, {
      code: 'in_use',
      suggestions: ['wait until it is done, then run this again', 'choose another folder'],
    })
  }
}

/** The same for who can do without: undefined when another process has it, or may have it. */
export async function claimIfFree(dir: string): Promise<Claim | undefined> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const found = await tryClaim(dir)
    if ('release' in found) return found
    if (found.silence) return undefined
    await sleep(10 + Math.random() * 90)
  }
  return undefined
}

/** Waits until nobody else has the folder; `onBusy` is called once. A folder that was only made for the claim goes with it. */
export async function claimWhenFree(
  dir: string,
  { onBusy, signal }: { onBusy?: () => void; signal?: AbortSignal } = {},
): Promise<Claim> {
  for (let told = false; ; ) {
    const found = await tryClaim(dir)
    if ('release' in found) {
      const release = async (): Promise<void> => {
        await found.release()
        await rmdir(dir).catch(() => {})
      }
      return { ...found, release }
    }
    if (!told && found.owner) {
      told = true
      onBusy?.()
    }
    await sleep(50 + Math.random() * 200, undefined, { signal })
  }
}

interface Held {
  file: string
  owner: Owner | undefined
  /** Nothing but its silence could tell that it is dead. */
  silence: boolean
}

async function tryClaim(dir: string): Promise<Claim | Held> {
  const name = PREFIX + randomUUID()
  const file = path.join(dir, name)
  const withdraw = async (): Promise<void> => {
    ours.delete(name)
    await rm(file, { force: true })
  }
  const claim = JSON.stringify(await thisProcess())
  ours.add(name)
  try {
    await makeFolder(path.resolve(dir))
    await writeFile(file, claim)
    const { mtimeMs: now } = await stat(file)
    const names = await readdir(dir)
    let living: Held | undefined = names.includes(name) ? undefined : { file, owner: undefined, silence: false }
    for (const other of names) {
      if (other === name || !other.startsWith(PREFIX)) continue
      const held = await ownerOf(path.join(dir, other), now)
      if (held === 'dead') await rm(path.join(dir, other), { force: true })
      else living ??= held
    }
    if (living) {
      await withdraw()
      return living
    }
  } catch (error) {
    await withdraw().catch(() => {})
    // Its last owner may be taking the folder away.
    const isGone = systemCode(error) === 'EEXIST' && !(await isThere(dir))
    if (isGone || systemCode(error) === 'ENOENT') return { file, owner: undefined, silence: false }
    throw error
  }
  const timer = setInterval(() => void touch(file, claim.length).catch(() => {}), TOUCH_MS)
  timer.unref()
  return {
    async assertHeld() {
      if (await isThere(file)) return
      throw new VtpError(`${dir} belongs to another process by now: this one was silent for too long`, {
        code: 'claim_lost',
        suggestions: ['let the other process finish, then run this again'],
      })
    },
    async release() {
      clearInterval(timer)
      await withdraw()
    },
  }
}

/** By a write, so that the time is that of the folder's own machine; a claim that was taken away is not made again. */
async function touch(file: string, end: number): Promise<void> {
  const handle = await open(file, 'r+')
  try {
    await handle.write(' ', end)
  } finally {
    await handle.close()
  }
}

/** `now` is the time by the clock of the folder's own machine. */
async function ownerOf(file: string, now: number): Promise<Held | 'dead'> {
  if (ours.has(path.basename(file))) return { file, owner: await thisProcess(), silence: false }
  const owner = await readOwner(file)
  if (owner && owner.place === thisPlace) {
    const started = await startOf(owner.pid)
    const lives = isAlive(owner.pid) && (started === null || started === owner.started)
    return lives ? { file, owner, silence: false } : 'dead'
  }
  const touched = await stat(file).catch(() => undefined)
  return touched && now - touched.mtimeMs <= SILENT_MS ? { file, owner, silence: true } : 'dead'
}

/** Undefined for a claim that is just being written, or that is no longer there. */
async function readOwner(file: string): Promise<Owner | undefined> {
  try {
    const { pid, host, place, started } = JSON.parse(await readFile(file, 'utf8')) as Owner
    return Number.isInteger(pid) && pid > 0 ? { pid, host: String(host), place: String(place), started } : undefined
  } catch {
    return undefined
  }
}

/** Watches a claim until it is touched (false), or is gone or silent for too long (true). */
async function fallsSilent(
  file: string,
  owner: Owner | undefined,
  what: string,
  onNote?: (line: string) => void,
): Promise<boolean> {
  const touched = async (): Promise<number | undefined> => (await stat(file).catch(() => undefined))?.mtimeMs
  const first = await touched()
  const seconds = SILENT_MS / 1000
  onNote?.(`${describe(owner)} has ${what}; waiting up to ${seconds} s for a sign that it lives.`)
  for (const end = performance.now() + SILENT_MS; performance.now() < end; await sleep(500)) {
    const now = await touched()
    if (now === undefined) return true
    if (now !== first) return false
  }
  return true
}

function describe(owner: Owner | undefined): string {
  return owner ? `process ${owner.pid} on ${owner.host}` : 'a process that has just begun'
}

async function isThere(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined)) !== undefined
}

async function thisProcess(): Promise<Owner> {
  return { pid: process.pid, host: hostname(), place: thisPlace, started: await startOf(process.pid) }
}
