/**
 * The layout of the hub's cache on disk, the one that huggingface_hub (Python) reads and writes:
 *
 *   models--org--name/refs/main                    the commit that the branch pointed to
 *   models--org--name/snapshots/<commit>/FILE  ->  ../../blobs/<etag>
 *   models--org--name/blobs/<etag>                 SHA-256 of a large file, git's SHA-1 of a small one
 *   models--org--name/blobs/<etag>.incomplete      a download that has not ended
 *
 * A snapshot counts as complete when all files are there that the model's family needs.
 */
import { copyFile, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { systemCode } from '../../errors.js'
import { settle, temporaryName, writeAtomically } from '../../io/atomic.js'
import { localCandidate } from '../candidate.js'
import { neededFiles } from '../needed-files.js'

const COMMIT = /^[0-9a-f]{40}$/

export interface HubRef {
  /** `org/name` */
  repo: string
  /** Undefined: the default branch. */
  revision: string | undefined
  /** One file of a repository that holds several checkpoints. */
  file?: string
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

/** Whether a snapshot folder holds all files that its model's family needs. */
export async function isCompleteSnapshot(folder: string, file?: string): Promise<boolean> {
  try {
    await neededFiles(await localCandidate(folder, folder, file))
    return true
  } catch {
    return false
  }
}

/** The complete snapshot of a revision that is on this disk, if there is one. */
export async function cachedSnapshot(
  repoDir: string,
  { revision, file }: Pick<HubRef, 'revision' | 'file'>,
): Promise<string | undefined> {
  const name = revision ?? 'main'
  const commit = isCommit(name)
    ? name
    : (await readFile(path.join(repoDir, 'refs', name), 'utf8').catch(() => '')).trim()
  if (!isCommit(commit)) return undefined
  const folder = path.join(repoDir, 'snapshots', commit)
  return (await isCompleteSnapshot(folder, file)) ? folder : undefined
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
