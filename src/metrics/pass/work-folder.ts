/**
 * Folders of work in progress in the cache, one per key. Two processes never share one (io/claim.ts): the second
 * begins a folder of its own. One whose owner is dead is taken over.
 */
import { randomUUID } from 'node:crypto'
import { readdir, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { type Claim, claimIfFree } from '../../io/claim.js'
import { makeFolder } from '../../io/make-folder.js'

export interface WorkFolder {
  readonly dir: string
  readonly claim: Claim
  /** Leaves the folder to whoever continues. */
  release(): Promise<void>
  /** Deletes it. */
  remove(): Promise<void>
}

const FORGOTTEN_MS = 30 * 24 * 3600 * 1000
const TRASH = 'trash-'

/** Takes the folder of `key` that an interrupted process left below `root`, or makes a new one. */
export async function takeWorkFolder(root: string, key: string): Promise<WorkFolder> {
  await makeFolder(path.resolve(root))
  await removeForgotten(root)
  const names = await readdir(root)
  const left = names.filter((name) => name === key || name.startsWith(`${key}.`)).sort()
  for (const name of left) {
    const taken = await take(path.join(root, name))
    if (taken) return taken
  }
  for (let n = 0; ; n++) {
    const name = n === 0 ? key : `${key}.${n}`
    const taken = left.includes(name) ? undefined : await take(path.join(root, name))
    if (taken) return taken
  }
}

async function take(dir: string): Promise<WorkFolder | undefined> {
  const claim = await claimIfFree(dir)
  if (!claim) return undefined
  return {
    dir,
    claim,
    release: () => claim.release(),
    async remove() {
      // It goes with its claim, so that nobody begins in it while its files are deleted.
      const trash = path.join(path.dirname(dir), TRASH + randomUUID())
      await rename(dir, trash)
      await claim.release()
      await rm(trash, { recursive: true, force: true }).catch(() => {}) // whoever comes next does it
    },
  }
}

/** Nobody comes back to these. */
async function removeForgotten(root: string): Promise<void> {
  for (const name of await readdir(root)) {
    const dir = path.join(root, name)
    const info = await stat(dir).catch(() => undefined)
    if (!info || (!name.startsWith(TRASH) && Date.now() - info.mtimeMs <= FORGOTTEN_MS)) continue
    if (name.startsWith(TRASH)) await rm(dir, { recursive: true, force: true }).catch(() => {})
    else await (await take(dir))?.remove()
  }
}
