/**
 * The layout of the hub's cache on disk, the one that huggingface_hub (Python) reads and writes:
 *
 *   models--org--name/refs/main                    the commit that the branch pointed to
 *   models--org--name/snapshots/<commit>/FILE  ->  ../../blobs/<etag>
 *   models--org--name/blobs/<etag>                 SHA-256 of a large file, git's SHA-1 of a small one
 *   models--org--name/blobs/<etag>.incomplete      a download that has not ended
 *
 * A snapshot counts as complete when config.json and all weight files are there.
 */
import { copyFile, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { systemCode, VtpError } from '../../errors.js'
import { settle, temporaryName, writeAtomically } from '../../io/atomic.js'

export const CONFIG = 'config.json'
export const WEIGHTS = 'model.safetensors'
export const WEIGHTS_INDEX = 'model.safetensors.index.json'

const COMMIT = /^[0-9a-f]{40}$/

export interface HubRef {
  /** `org/name` */
  repo: string
  /** Undefined: the default branch. */
  revision: string | undefined
}

export function repoFolder(cacheDir: string, repo: string): string {
  return path.join(cacheDir, `models--${repo.replace('/', '--')}`)
}

export function isCommit(revision: string): boolean {
  return COMMIT.test(revision)
}

export async function fileExists(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined))?.isFile() === true
}

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) })

/** The shards that an index lists. Throws `bad_index`; names never leave the folder. */
export function shardNames(indexText: string, where: string): string[] {
  let names: string[]
  try {
    names = [...new Set(Object.values(indexSchema.parse(JSON.parse(indexText)).weight_map))].sort()
  } catch (error) {
    throw new VtpError(`${where} is not the index of a sharded checkpoint`, { code: 'bad_index', cause: error })
  }
  const strange = names.find((name) => !isPlainWeightName(name))
  if (strange !== undefined) {
    throw new VtpError(`${where} names the file "${strange}", which is not a plain .safetensors name`, {
      code: 'bad_index',
    })
  }
  return names
}

export function isPlainWeightName(name: string): boolean {
  return /^[\w][\w.-]*\.safetensors$/.test(name)
}

/** Whether a snapshot folder holds a whole checkpoint. */
export async function isCompleteSnapshot(folder: string): Promise<boolean> {
  if (!(await fileExists(path.join(folder, CONFIG)))) return false
  if (await fileExists(path.join(folder, WEIGHTS))) return true
  const text = await readFile(path.join(folder, WEIGHTS_INDEX), 'utf8').catch(() => undefined)
  if (text === undefined) return false
  try {
    for (const name of shardNames(text, folder)) if (!(await fileExists(path.join(folder, name)))) return false
    return true
  } catch {
    return false
  }
}

/** The complete snapshot of a revision that is on this disk, if there is one. */
export async function cachedSnapshot(repoDir: string, revision: string | undefined): Promise<string | undefined> {
  const name = revision ?? 'main'
  const commit = isCommit(name)
    ? name
    : (await readFile(path.join(repoDir, 'refs', name), 'utf8').catch(() => '')).trim()
  if (!isCommit(commit)) return undefined
  const folder = path.join(repoDir, 'snapshots', commit)
  return (await isCompleteSnapshot(folder)) ? folder : undefined
}

/** Remembers which commit a branch or tag pointed to. */
export async function writeRef(repoDir: string, revision: string, commit: string): Promise<void> {
  if (revision === commit) return
  await writeAtomically(path.join(repoDir, 'refs', revision), (tmp) => writeFile(tmp, commit))
}

/** Puts a blob into a snapshot under its name: a relative link, or a copy where links are not to be had. */
export async function linkIntoSnapshot(blob: string, file: string): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true })
  const tmp = temporaryName(file)
  try {
    await symlink(path.relative(path.dirname(file), blob), tmp)
  } catch (error) {
    const code = systemCode(error) ?? ''
    if (!['EPERM', 'ENOTSUP', 'ENOSYS', 'EACCES'].includes(code)) throw error
    await copyFile(blob, tmp)
  }
  await settle(tmp, file)
}
