/**
 * One file of the hub into one blob of the cache. The bytes go to `<etag>.incomplete`, which survives a
 * cut connection and a killed process: the next try asks for the rest (`Range`). A blob takes its name
 * only after its size and its hash were checked: SHA-256 for large files, git's blob SHA-1 for small ones.
 * One process at a time writes a blob; others wait for it.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, mkdir, open, rm, stat, statfs } from 'node:fs/promises'
import path from 'node:path'
import { backoff, retry } from '../../async/retry.js'
import { systemCode, VtpError } from '../../errors.js'
import { settle } from '../../io/atomic.js'
import { claimWhenFree } from '../../io/claim.js'
import { HubNetworkError, isPassing, shownUrl } from '../../io/hub/errors.js'
import type { RemoteFile } from '../../io/hub/metadata.js'

export interface DownloadOptions {
  fetch: typeof fetch
  signal?: AbortSignal
  /** Called with the bytes that are on disk, and when a try is repeated. */
  onBytes?: (bytes: number) => void
  onNote?: (line: string) => void
  /** Base of the waiting time between tries. */
  retryDelayMs?: number
  /** A connection that sends nothing for so long is given up. */
  stallMs?: number
}

/** Tries in a row that bring no new byte. */
const FRUITLESS_TRIES = 5

const STALL_MS = 30_000

/** Makes `blob` hold the file; resumes what an earlier call has left. */
export async function downloadBlob(file: RemoteFile, blob: string, options: DownloadOptions): Promise<void> {
  await mkdir(path.dirname(blob), { recursive: true })
  const claim = await claimWhenFree(`${blob}.claim`, {
    signal: options.signal,
    onBusy: () => options.onNote?.(`${file.name}: another process is downloading it; waiting`),
  })
  try {
    if ((await sizeOf(blob)) === file.size) return
    await checkSpace(file, blob)
    await fill(file, blob, options)
  } finally {
    await claim.release()
  }
}

/** Hex digest of a blob, by the rule that its etag follows. */
export async function blobHash(path: string, size: number, rule: RemoteFile['hash']): Promise<string> {
  const hash = createHash(rule === 'sha256' ? 'sha256' : 'sha1')
  if (rule === 'git-sha1') hash.update(`blob ${size}\0`)
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

async function sizeOf(file: string): Promise<number | undefined> {
  return (await stat(file).catch(() => undefined))?.size
}

async function fill(file: RemoteFile, blob: string, options: DownloadOptions): Promise<void> {
  const incomplete = `${blob}.incomplete`
  let damaged = false
  let before = 0
  let fruitless = 0
  /** Whether the blob is there now; false: its bytes were damaged. */
  const attempt = async (): Promise<boolean> => {
    before = (await sizeOf(incomplete)) ?? 0
    if (before < file.size || file.size === 0) await fetchRest(file, incomplete, before, options)
    const size = await sizeOf(incomplete)
    if (size !== file.size) throw new HubNetworkError(file.url, new Error(`${size} of ${file.size} bytes came`))
    if ((await blobHash(incomplete, file.size, file.hash)) === file.etag) {
      await settle(incomplete, blob)
      return true
    }
    await rm(incomplete, { force: true })
    return false
  }
  const again = async (error: unknown): Promise<number | undefined> => {
    if (!isPassing(error)) return undefined
    const after = (await sizeOf(incomplete)) ?? 0
    fruitless = after > before ? 0 : fruitless + 1
    if (fruitless >= FRUITLESS_TRIES) return undefined
    options.onNote?.(`${file.name}: ${(error as Error).message}; resuming at ${after} of ${file.size} bytes`)
    return backoff(fruitless + 1, options.retryDelayMs ?? 1000)
  }
  try {
    while (!(await retry(attempt, { again, signal: options.signal }))) {
      if (damaged) throw integrityError(file)
      damaged = true
      options.onNote?.(`${file.name}: the bytes do not match their checksum; downloading it again`)
    }
  } catch (error) {
    // Two processes that found the same lock abandoned: the other one was faster.
    if (systemCode(error) === 'ENOENT' && (await sizeOf(blob)) === file.size) return
    throw error
  }
}

/** One request for the bytes from `offset` on, written behind what is there. */
async function fetchRest(
  file: RemoteFile,
  incomplete: string,
  offset: number,
  options: DownloadOptions,
): Promise<void> {
  const stall = new AbortController()
  const stallMs = options.stallMs ?? STALL_MS
  let timer = setTimeout(() => stall.abort(), stallMs)
  const signal = options.signal ? AbortSignal.any([options.signal, stall.signal]) : stall.signal
  let handle: FileHandle | undefined
  try {
    // Compressed answers would make byte ranges mean something else.
    const headers: Record<string, string> = { 'accept-encoding': 'identity' }
    if (offset > 0) headers.range = `bytes=${offset}-`
    const response = await options.fetch(file.url, { headers, signal })
    const start = startOfBody(response, file, offset)
    handle = await open(incomplete, start === 0 ? 'w' : 'r+')
    let position = start
    for await (const chunk of response.body ?? []) {
      clearTimeout(timer)
      timer = setTimeout(() => stall.abort(), stallMs)
      if (position + chunk.length > file.size) {
        throw new HubNetworkError(file.url, new Error(`more than the ${file.size} announced bytes came`))
      }
      await handle.write(chunk, 0, chunk.length, position)
      position += chunk.length
      options.onBytes?.(position)
    }
    await handle.sync()
  } catch (error) {
    options.signal?.throwIfAborted()
    if (stall.signal.aborted) throw new HubNetworkError(file.url, new Error(`no byte came for ${stallMs / 1000} s`))
    // The disk's errors have a system call; the connection's have not, or are wrapped by fetch.
    if (handle && (error as NodeJS.ErrnoException).syscall === 'write') throw diskError(error, incomplete)
    if (isPassing(error) || error instanceof VtpError) throw error
    if (error instanceof TypeError) throw new HubNetworkError(file.url, error)
    throw error
  } finally {
    clearTimeout(timer)
    await handle?.close()
  }
}

/** Where the body starts: at `offset` if the server takes ranges, else at 0. */
function startOfBody(response: Response, file: RemoteFile, offset: number): number {
  if (response.status === 200) return 0
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '')
  const total = range?.[2] === '*' ? file.size : Number(range?.[2])
  if (response.status !== 206 || Number(range?.[1]) !== offset || total !== file.size) {
    throw new VtpError(
      `${shownUrl(file.url)} answered status ${response.status} with the range "${response.headers.get('content-range')}", ` +
        `but bytes ${offset}- of ${file.size} were asked for`,
      { code: 'hub_bad_range', suggestions: ['try again; the file may have changed on the hub'] },
    )
  }
  return offset
}

function integrityError(file: RemoteFile): VtpError {
  return new VtpError(`${shownUrl(file.url)} came twice with bytes that do not match its checksum ${file.etag}`, {
    code: 'hub_integrity',
    suggestions: ['a proxy or mirror in between may serve a damaged file: try another HF_ENDPOINT'],
  })
}

function diskError(error: unknown, file: string): VtpError {
  const full = systemCode(error) === 'ENOSPC' || systemCode(error) === 'EDQUOT'
  return new VtpError(`Writing ${file} failed: ${(error as Error).message}`, {
    code: full ? 'disk_full' : 'write_failed',
    suggestions: [
      full ? 'free space or set HF_HUB_CACHE to another disk, then run the same command again' : 'check the disk',
    ],
    cause: error,
  })
}

/** Says before a long download that it will not fit. */
async function checkSpace(file: RemoteFile, blob: string): Promise<void> {
  const folder = path.dirname(blob)
  const disk = await statfs(folder).catch(() => undefined)
  const missing = file.size - ((await sizeOf(`${blob}.incomplete`)) ?? 0)
  if (!disk || disk.bavail * disk.bsize > missing) return
  throw new VtpError(
    `${file.name} needs ${missing} more bytes, but the disk of ${folder} has ${disk.bavail * disk.bsize} free`,
    {
      code: 'disk_full',
      suggestions: ['free space, or set HF_HUB_CACHE to a folder on another disk'],
    },
  )
}
