/**
 * What an evaluation continues from when it was interrupted: `checkpoint.bin` and files that only grow, in
 * a folder that belongs to what is evaluated, its identity: everything that decides the numbers. The folder
 * is one that the user names and keeps (`--out`), where another evaluation is refused; or one in the cache,
 * found by the identity alone and deleted when the evaluation is done. One process at a time works in it: a second
 * one is refused in the user's folder, and has one of its own in the cache.
 */
import { createHash } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../../errors.js'
import { writeAtomically } from '../../io/atomic.js'
import { claimFolder } from '../../io/claim.js'
import { makeFolder } from '../../io/make-folder.js'
import { type AppendFile, openAppendFile } from './append-file.js'
import { type NumberArrays, readCheckpoint, writeCheckpoint } from './checkpoint.js'
import { takeWorkFolder, type WorkFolder } from './work-folder.js'

export interface StateOptions {
  /** The user's folder; the cache otherwise. */
  dir?: string
  /** Start anew in `dir`, whatever it holds; undefined where the command has no such flag. */
  overwrite?: boolean
  cacheDir: string
  onNote?: (line: string) => void
  /** How often progress is made durable; 0: with every batch. */
  checkpointSeconds: number
  /** Finished work stays in the cache, too: part of something larger, which calls what is added here at its end. */
  kept?: (() => Promise<void>)[]
}

interface Checkpointed<Head> {
  head: Head
  arrays?: NumberArrays
}

export interface EvalState<Head> {
  /** What the last checkpoint holds; undefined at the very beginning. */
  readonly head: Head | undefined
  readonly arrays: NumberArrays | undefined
  /** Opens a file of the folder as the last checkpoint left it; it is closed with the state. */
  openFile(name: string): Promise<AppendFile>
  /** Makes everything so far durable. */
  checkpoint(head: Head, arrays?: NumberArrays): Promise<void>
  /** The same, if it is time. */
  checkpointWhenDue(make: () => Checkpointed<Head> | Promise<Checkpointed<Head>>): Promise<void>
  /** `done`: nobody needs to continue, and nothing of it stays in the cache. */
  close(done: boolean): Promise<void>
}

const RUN = 'run.json'
const CHECKPOINT = 'checkpoint.bin'

/** Opens or continues. Throws usage error `other_evaluation` when `dir` holds another one. */
export async function openState<Head extends object>(
  identity: Record<string, unknown>,
  options: StateOptions,
): Promise<EvalState<Head>> {
  const { dir, cacheDir, checkpointSeconds } = options
  const takeFolder = (): Promise<WorkFolder> =>
    takeWorkFolder(path.join(cacheDir, 'evaluations'), identityKey(identity))
  const cached = dir === undefined ? await takeFolder() : undefined
  const folder = cached?.dir ?? dir!
  const claim = cached?.claim ?? (await claimFolder(folder, path.dirname(folder), options))
  const file = path.join(folder, CHECKPOINT)
  const files = new Map<string, AppendFile>()
  try {
    await settle(folder, identity, options.overwrite)
    const saved = await readCheckpoint<{ head: Head; lengths: Record<string, number> }>(file).catch((error) => {
      // Nobody has asked for what is in the cache: if it is of no use, the evaluation begins anew.
      if (cached) return undefined
      throw error
    })
    let savedAt = performance.now()
    let isThere = saved !== undefined
    const checkpoint = async (head: Head, arrays: NumberArrays = {}): Promise<void> => {
      await claim.assertHeld()
      const lengths: Record<string, number> = { ...saved?.head.lengths }
      for (const [name, opened] of files) {
        await opened.sync()
        lengths[name] = opened.bytes
      }
      await writeCheckpoint(file, { head: { head, lengths }, arrays })
      savedAt = performance.now()
      isThere = true
    }
    return {
      head: saved?.head.head,
      arrays: saved?.arrays,
      async openFile(name) {
        const opened = await openAppendFile(path.join(folder, name), saved?.head.lengths[name] ?? 0)
        files.set(name, opened)
        return opened
      },
      checkpoint,
      async checkpointWhenDue(make) {
        if (performance.now() - savedAt < checkpointSeconds * 1000) return
        const { head, arrays } = await make()
        await checkpoint(head, arrays)
      },
      async close(done) {
        for (const opened of files.values()) await opened.close()
        if (done && options.kept && isThere) {
          await claim.release()
          if (cached) options.kept.push(async () => (await takeFolder()).remove())
        } else if (cached && (done || !isThere)) await cached.remove()
        else await claim.release()
      },
    }
  } catch (error) {
    await claim.release()
    throw error
  }
}

function identityKey(identity: Record<string, unknown>): string {
  return createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 32)
}

/** Makes the folder one of this identity, or refuses. */
async function settle(
  folder: string,
  identity: Record<string, unknown>,
  overwrite: boolean | undefined,
): Promise<void> {
  await makeFolder(path.resolve(folder))
  const text = JSON.stringify(identity, null, 2)
  const there = await readFile(path.join(folder, RUN), 'utf8').catch(() => undefined)
  if (there === text && !overwrite) return
  if (there !== undefined && !overwrite) {
    throw usageError(
      'other_evaluation',
      `${path.dirname(folder)} holds another evaluation. What differs: ${differences(there, identity)}`,
      [
        'choose another --out folder',
        ...(overwrite === undefined ? [] : ['pass --overwrite to start anew in this one']),
      ],
    )
  }
  await rm(path.join(folder, CHECKPOINT), { force: true })
  await writeAtomically(path.join(folder, RUN), (tmp) => writeFile(tmp, text))
}

function differences(there: string, now: Record<string, unknown>): string {
  let before: Record<string, unknown> = {}
  try {
    before = JSON.parse(there) as Record<string, unknown>
  } catch {}
  const names = Object.keys(now).filter((name) => JSON.stringify(before[name]) !== JSON.stringify(now[name]))
  return names
    .map((name) => `${name} (${JSON.stringify(before[name])} there, ${JSON.stringify(now[name])} now)`)
    .join(', ')
}
