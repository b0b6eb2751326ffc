/**
 * `vtp gc`: removes what a run no longer needs: attempt markers and pieces of committed units, listings and
 * planning pieces that no plan names, temporary files and unfinished uploads of workers that died. Parts without a
 * commit are left alone: the worker that wrote one may be about to commit it, and the next one adopts or replaces it.
 */
import { lstat, readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { isTemporary } from '../../io/atomic.js'
import { type Store, uriScheme } from '../../io/store.js'
import { committedUnits } from './commits.js'
import { ATTEMPTS, FOLDERS, PIECES, PLANNING, REPAIRS } from './layout.js'
import { openAnyRun } from './open-run.js'
import type { RunOutline } from './plan.js'

export interface GcOptions {
  /** Files and uploads of running workers are younger than this. */
  olderThanMs: number
  dryRun: boolean
}

export interface GcResult {
  out: string
  /** What was (or would be) removed. */
  attempts: number
  files: number
  uploads: number
  bytes: number
  removed: string[]
}

export async function collectGarbage(dest: string, { olderThanMs, dryRun }: GcOptions): Promise<GcResult> {
  const { store, plan } = await openAnyRun(dest)
  const result: GcResult = { out: dest, attempts: 0, files: 0, uploads: 0, bytes: 0, removed: [] }
  const old = (modifiedMs: number | undefined): boolean => Date.now() - (modifiedMs ?? 0) > olderThanMs
  try {
    const done = await committedUnits(store)
    for await (const { name, size, modifiedMs } of store.list('_vtp/')) {
      if (name.startsWith(ATTEMPTS)) {
        if (!done.has(unitOf(name, ATTEMPTS))) continue
        result.attempts++
      } else {
        if (!isStale(name, plan, done) || !old(modifiedMs)) continue
        result.files++
        result.bytes += size
        result.removed.push(name)
      }
      if (!dryRun) await store.delete(name)
    }
    if (uriScheme(store.uri) === 's3') await abortUploads(store, result, old, dryRun)
    else await removeTemporary(store.uri, result, old, dryRun)
    return result
  } finally {
    await store.close()
  }
}

/** The unit's number behind a prefix: "_vtp/attempts/00017.2" → 17. */
function unitOf(name: string, prefix: string): number {
  return Number(/^\d+/.exec(name.slice(prefix.length))?.[0] ?? Number.NaN)
}

/** Whether nothing needs a file any more: pieces and repairs of committed units, what planning and probing leave. */
function isStale(name: string, plan: RunOutline, done: ReadonlySet<number>): boolean {
  for (const prefix of [PIECES, REPAIRS]) if (name.startsWith(prefix)) return done.has(unitOf(name, prefix))
  return (
    (name.startsWith('_vtp/listing-') && name !== plan.listingFile) ||
    name.startsWith(PLANNING) ||
    name.startsWith('_vtp/probe-')
  )
}

async function abortUploads(
  store: Store,
  result: GcResult,
  old: (modifiedMs: number) => boolean,
  dryRun: boolean,
): Promise<void> {
  const [{ abortUpload, listUploads }, { folderKey, parseS3Uri }] = await Promise.all([
    import('../../io/s3/objects.js'),
    import('../../io/s3/uri.js'),
  ])
  const { bucket, key } = parseS3Uri(store.uri)
  for await (const upload of listUploads({ bucket, key: folderKey(key) })) {
    if (!old(upload.startedMs)) continue
    result.uploads++
    result.removed.push(`upload of ${upload.key}`)
    if (!dryRun) await abortUpload({ bucket, key: upload.key }, upload.uploadId)
  }
}

/** `*.tmp-UUID` beside the parts, and everything in `_vtp/tmp`. */
export async function removeTemporary(
  root: string,
  result: GcResult,
  old: (modifiedMs: number) => boolean,
  dryRun: boolean,
): Promise<void> {
  for (const folder of ['', ...FOLDERS]) {
    const names = await readdir(path.join(root, folder)).catch(() => [])
    for (const name of names) {
      if (folder !== '_vtp/tmp' && !isTemporary(name)) continue
      const file = path.join(root, folder, name)
      const info = await lstat(file).catch(() => undefined)
      if (!info?.isFile() || !old(info.mtimeMs)) continue
      result.files++
      result.bytes += info.size
      result.removed.push(path.posix.join(folder, name))
      if (!dryRun) await rm(file, { force: true })
    }
  }
}
