/**
 * Models from a Hugging Face hub: `org/name[@revision]`, or `hf://org/name[@revision]/FILE` → the folder of a snapshot in the standard cache.
 * Only the files that the model's family needs are taken. The hub is asked which commit a branch points to;
 * when it does not answer, the snapshot that is on this disk is used.
 */
import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { backoff, retry } from '../../async/retry.js'
import { EXIT, usageError, VtpError } from '../../errors.js'
import { HubNetworkError, hubError, isPassing } from '../../io/hub/errors.js'
import { createHubFetch } from '../../io/hub/fetch.js'
import { commitOf, filesOf, type Hub, type RemoteFile } from '../../io/hub/metadata.js'
import { type HubOptions, type HubSettings, hubSettings } from '../../io/hub/settings.js'
import { isPlainPath, PLAIN_NAMES, remoteCandidate } from '../candidate.js'
import { neededFiles } from '../needed-files.js'
import {
  cachedSnapshot,
  fileExists,
  type HubRef,
  isCommit,
  isCompleteSnapshot,
  linkIntoSnapshot,
  repoFolder,
  writeRef,
} from './cache.js'
import { blobHash, downloadBlob } from './download.js'

export interface ResolveOptions extends HubOptions {
  /** Lines for people: what is downloaded, repeated tries, use of the cache. */
  onProgress?: (line: string) => void
  /** Bytes of a file that are on disk, as they come. */
  onBytes?: (progress: { file: string; done: number; total: number }) => void
  signal?: AbortSignal
  /** Check the bytes of files that are in the cache already (`vtp model pull`). */
  verify?: boolean
  /** Base of the waiting time between tries; for tests. */
  retryDelayMs?: number
  /** Silence after which a connection is given up; for tests. */
  stallMs?: number
  env?: NodeJS.ProcessEnv
}

const METADATA_TRIES = 3

/** `org/name[@revision]` or `hf://org/name[@revision][/FILE]` in parts. Throws a usage error. */
export function parseHubRef(ref: string): HubRef {
  const match =
    /^([\w][\w.-]*\/[\w][\w.-]*)(?:@([\w][\w./-]*))?$/.exec(ref) ??
    /^hf:\/\/([\w][\w.-]*\/[\w][\w.-]*)(?:@([\w][\w.-]*))?(?:\/(.+))?$/.exec(ref)
  const [, repo, revision, file] = match ?? []
  const parts = `${repo}/${revision ?? ''}`.split('/')
  const isBad = parts.some((part) => part === '..' || part === '.' || part.includes('--'))
  if (repo === undefined || isBad || (file !== undefined && !isPlainPath(file))) {
    throw usageError('bad_hub_id', `"${ref}" is not a hub id`, [
      'write org/name or org/name@revision, e.g. MiniMaxAI/VTP-Large-f16d64',
      'name one file of a repository as hf://org/name/FILE or hf://org/name@revision/FILE',
    ])
  }
  return { repo, revision, ...(file === undefined || PLAIN_NAMES.test(file) ? {} : { file }) }
}

/**
 * The snapshot folder of a model, downloaded if needed. Throws VtpErrors `hub_*` that name the address and
 * the status; an abort throws the signal's reason.
 */
export async function resolveHubModel(ref: string, options: ResolveOptions = {}): Promise<string> {
  const parsed = parseHubRef(ref)
  const { repo, revision } = parsed
  const settings = await hubSettings(options, options.env)
  const repoDir = repoFolder(settings.cacheDir, repo)
  const cached = await cachedSnapshot(repoDir, parsed)
  if (settings.offline) {
    if (cached) return cached
    throw new VtpError(
      `${ref} is not in the cache (${settings.cacheDir}), and the hub is switched off (HF_HUB_OFFLINE)`,
      {
        code: 'hub_offline',
        suggestions: [
          `unset HF_HUB_OFFLINE to download it from ${settings.endpoint}/${repo}`,
          `or run \`vtp model pull ${ref}\` on a machine with a network and copy ${path.basename(repoDir)} into the cache`,
        ],
      },
    )
  }
  // A commit never changes.
  if (cached && revision && isCommit(revision) && !options.verify) return cached
  try {
    return await downloadSnapshot(ref, parsed, settings, repoDir, cached, options)
  } catch (error) {
    options.signal?.throwIfAborted()
    if (cached && isPassing(error) && !options.verify) {
      options.onProgress?.(`The hub does not answer (${(error as Error).message}); using the cached copy of ${ref}`)
      return cached
    }
    throw hubError(error, { ref, endpoint: settings.endpoint, hasToken: settings.token !== undefined })
  }
}

/** Whether the cache has a complete snapshot of it. */
export async function isHubModelHere(ref: string, options: ResolveOptions = {}): Promise<boolean> {
  const parsed = parseHubRef(ref)
  const settings = await hubSettings(options, options.env)
  return (await cachedSnapshot(repoFolder(settings.cacheDir, parsed.repo), parsed)) !== undefined
}

async function downloadSnapshot(
  ref: string,
  { repo, revision = 'main', file }: HubRef,
  settings: HubSettings,
  repoDir: string,
  cached: string | undefined,
  options: ResolveOptions,
): Promise<string> {
  const hubFetch = createHubFetch(settings, options.signal)
  const hub: Hub = { kind: 'models', endpoint: settings.endpoint, fetch: hubFetch }
  // With a copy at hand one short try is enough.
  const tries = cached ? 1 : METADATA_TRIES
  const patience = {
    signal: options.signal,
    again: (error: unknown, attempt: number) =>
      isPassing(error) && attempt < tries ? backoff(attempt, options.retryDelayMs ?? 1000) : undefined,
  }
  const commit = await retry(() => commitOf(hub, repo, revision), patience)
  if (!isCommit(commit))
    throw new HubNetworkError(settings.endpoint, new Error(`the hub answered no commit for ${ref}`))
  const snapshot = path.join(repoDir, 'snapshots', commit)
  if (!options.verify && (await isCompleteSnapshot(snapshot, file))) {
    await writeRef(repoDir, revision, commit)
    return snapshot
  }
  const remote = await retry(() => filesOf(hub, repo, commit), patience)

  const take = async (name: string): Promise<string> => {
    const entry = remote.get(name)!
    if (!/^[0-9a-f]{40,64}$/.test(entry.etag))
      throw new HubNetworkError(entry.url, new Error(`the hub names no hash of ${name}`))
    await takeFile(entry, repoDir, path.join(snapshot, name), hubFetch, options)
    return path.join(snapshot, name)
  }
  const readText = async (name: string): Promise<string> => readFile(await take(name), 'utf8')
  if (file !== undefined && !remote.has(file)) throw noSuchFile(ref, file, [...remote.keys()])
  const needed = await neededFiles(remoteCandidate(ref, remote.keys(), readText, file)).catch((error: unknown) => {
    throw error instanceof VtpError && error.code === 'model_incomplete'
      ? notACheckpoint(error, ref, [...remote.keys()])
      : error
  })
  for (const name of needed) await take(name)
  await writeRef(repoDir, revision, commit)
  return snapshot
}

async function takeFile(
  file: RemoteFile,
  repoDir: string,
  target: string,
  hubFetch: typeof fetch,
  options: ResolveOptions,
): Promise<void> {
  const blob = path.join(repoDir, 'blobs', file.etag)
  if (options.verify && (await fileExists(blob)) && (await blobHash(blob, file.size, file.hash)) !== file.etag) {
    options.onProgress?.(`${file.name}: the cached file is damaged; downloading it again`)
    await rm(blob, { force: true })
  }
  await downloadBlob(file, blob, {
    fetch: hubFetch,
    signal: options.signal,
    retryDelayMs: options.retryDelayMs,
    stallMs: options.stallMs,
    onNote: options.onProgress,
    onBytes: (done) => options.onBytes?.({ file: file.name, done, total: file.size }),
  })
  await linkIntoSnapshot(blob, target)
}

const fewCheckpoints = (files: string[]): string[] =>
  files.filter((name) => /\.(safetensors|bin|pt|pth|ckpt|h5|msgpack|onnx)$/.test(name)).slice(0, 5)

function noSuchFile(ref: string, file: string, files: string[]): VtpError {
  return usageError('hub_no_file', `The hub's ${ref}: the repository has no file ${file}`, [
    `it has ${fewCheckpoints(files).join(', ') || 'no checkpoints'}`,
  ])
}

function notACheckpoint(cause: VtpError, ref: string, files: string[]): VtpError {
  const found = fewCheckpoints(files)
  return new VtpError(`The hub's ${ref} is not a checkpoint that can be used: ${cause.message}`, {
    code: 'hub_no_checkpoint',
    exitCode: EXIT.usage,
    suggestions: [...(found.length > 0 ? [`it has ${found.join(', ')}`] : []), 'give e.g. MiniMaxAI/VTP-Large-f16d64'],
    cause,
  })
}
