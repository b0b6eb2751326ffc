/**
 * Published weights from their public address (or a mirror) into the cache. A cut connection and a killed
 * process are continued from the bytes that came; a file takes its name only when its SHA-256 is the known one.
 */
import path from 'node:path'
import { errorText, VtpError } from '../../errors.js'
import { HubNetworkError, HubStatusError, isPassing } from '../../io/hub/errors.js'
import { downloadBlob } from '../../model/hub/download.js'

export interface PublishedWeights {
  /** For messages. */
  title: string
  file: string
  url: string
  sha256: string
  bytes: number
}

export interface WeightsDownloadOptions {
  /** Replaces the part before the file's name in every address (a mirror; `VTP_WEIGHTS_URL`). */
  baseUrl?: string
  onNote?: (line: string) => void
  signal?: AbortSignal
  /** Base of the waiting time between tries. */
  retryDelayMs?: number
}

/** Makes `to` hold the file. Throws VtpError `weights_missing` when it does not come, `weights_corrupt` when another one comes. */
export async function downloadWeights(
  known: PublishedWeights,
  to: string,
  options: WeightsDownloadOptions,
): Promise<void> {
  const { title, file, bytes, sha256 } = known
  const { baseUrl, onNote, signal, retryDelayMs } = options
  const url = baseUrl ? `${baseUrl.replace(/\/+$/, '')}/${file}` : known.url
  onNote?.(`Downloading ${title}, ${(bytes / 1e6).toFixed(bytes < 1e6 ? 3 : 0)} MB: ${url}`)
  const unreachable = (cause: unknown): VtpError =>
    new VtpError(`The weights of ${title} are not here, and ${url} cannot be downloaded: ${errorText(cause)}`, {
      code: 'weights_missing',
      suggestions: [
        `download the file elsewhere, put it into a folder as ${file}, and pass --weights FOLDER`,
        'or set VTP_WEIGHTS_URL to a mirror that has it under this name',
      ],
      cause,
    })
  const other = (what: string): VtpError =>
    new VtpError(`${url} is not the known file: ${what}`, {
      code: 'weights_corrupt',
      suggestions: ['try again; if it repeats, a proxy may be answering instead of the server'],
    })
  let answered = false
  const request: typeof fetch = async (input, init) => {
    const response = await fetch(input, init).catch((error: unknown) => {
      if (signal?.aborted) throw error
      const failure = new HubNetworkError(url, error)
      // Where nothing has ever answered, waiting does not help: most often there is no network.
      throw answered ? failure : unreachable(failure)
    })
    answered = true
    if (!response.ok) throw new HubStatusError(url, response.status, undefined, response.statusText)
    const length = response.headers.get('content-length')
    if (response.status === 200 && length !== null && Number(length) !== bytes)
      throw other(`it has ${length} bytes, expected ${bytes}`)
    return response
  }
  const wanted = { name: file, url, size: bytes, etag: sha256, hash: 'sha256' as const }
  try {
    await downloadBlob(wanted, to, { fetch: request, signal, onNote, retryDelayMs })
  } catch (error) {
    if (error instanceof VtpError && error.code === 'hub_integrity') throw other(`its SHA-256 is not ${sha256}`)
    if (error instanceof VtpError && error.code === 'disk_full') {
      const suggestions = [`free space in ${path.dirname(to)}, or set VTP_CACHE to a folder on another disk`]
      throw new VtpError(error.message, { code: error.code, suggestions, cause: error })
    }
    if (isPassing(error) || error instanceof HubStatusError) throw unreachable(error)
    throw error
  }
}
