/**
 * Files of datasets on the Hugging Face hub: `hf://datasets/ORG/NAME[@REVISION]/PATH`, read by ranges, never as a
 * whole. A revision is resolved to its commit when a pattern is expanded, and addresses hold the commit from then on:
 * what was listed is what is read, whatever the branch points to later. HF_ENDPOINT and HF_TOKEN count.
 */
import { backoff, type RetryOptions, retry } from '../../async/retry.js'
import { systemCode, usageError, VtpError } from '../../errors.js'
import { HubNetworkError, HubStatusError, hubError, isPassing } from './errors.js'
import { createHubFetch } from './fetch.js'
import { commitOf, filesOf, type Hub, resolveUrl } from './metadata.js'
import { hubSettings } from './settings.js'

const TRIES = 5
const PATIENCE: RetryOptions = {
  again: (error, attempt) => (isPassing(error) && attempt < TRIES ? backoff(attempt, 1000) : undefined),
}
const EXAMPLE = 'write hf://datasets/ORG/NAME/PATTERN, e.g. "hf://datasets/uoft-cs/cifar10/plain_text/test-*.parquet"'

export interface DatasetPlace {
  repo: string
  /** Branch, tag or commit. */
  revision: string
  path: string
}

/** Throws usage error `bad_hf_uri`. */
export function parseDatasetUri(uri: string): DatasetPlace {
  const match = /^hf:\/\/datasets\/([\w][\w.-]*\/[\w][\w.-]*)(?:@([\w][\w.%-]*))?(?:\/(.*))?$/is.exec(uri)
  if (!match) throw usageError('bad_hf_uri', `${uri} is not the address of a dataset on the hub`, [EXAMPLE])
  return { repo: match[1]!, revision: decodeURIComponent(match[2] ?? 'main'), path: match[3] ?? '' }
}

/** A slash in the name of a branch is written as %2F, as huggingface_hub does. */
export function datasetUri({ repo, revision, path }: DatasetPlace): string {
  return `hf://datasets/${repo}@${encodeURIComponent(revision)}/${path}`
}

async function openHub(place: DatasetPlace, signal?: AbortSignal) {
  const settings = await hubSettings()
  const ref = `${place.repo}@${place.revision}`
  if (settings.offline) {
    throw new VtpError(`${datasetUri(place)} is on the hub, which is switched off (HF_HUB_OFFLINE)`, {
      code: 'hub_offline',
      suggestions: ['unset HF_HUB_OFFLINE, or give a local copy of the files as SOURCE'],
    })
  }
  const context = { ref, endpoint: settings.endpoint, hasToken: settings.token !== undefined, kind: 'dataset' as const }
  const hub: Hub = { kind: 'datasets', endpoint: settings.endpoint, fetch: createHubFetch(settings, signal) }
  return { hub, context }
}

/** The files of a dataset, by names that hold its commit, in the order of their paths. Throws VtpErrors `hub_*`. */
export async function listDataset(uri: string): Promise<DatasetPlace[]> {
  const place = parseDatasetUri(uri)
  const { hub, context } = await openHub(place)
  try {
    const sha = await retry(() => commitOf(hub, place.repo, place.revision), PATIENCE)
    const paths = [...(await retry(() => filesOf(hub, place.repo, sha), PATIENCE)).keys()]
    return paths
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      .map((path) => ({ repo: place.repo, revision: sha, path }))
  } catch (error) {
    throw hubError(error, context)
  }
}

export interface DatasetFile {
  size: number
  /** The range; shorter only where the file ends. */
  read(offset: number, size: number): Promise<Buffer>
}

/** Opens one file. Throws VtpErrors `not_found` and `hub_*`. */
export async function openDatasetFile(uri: string, stop?: AbortSignal): Promise<DatasetFile> {
  const place = parseDatasetUri(uri)
  const { hub, context } = await openHub(place, stop)
  const name = place.path.split('/').map(encodeURIComponent).join('/')
  const url = resolveUrl(hub, place.repo, encodeURIComponent(place.revision), name)

  const request = async (first: number, last: number): Promise<{ bytes: Buffer; size: number }> => {
    try {
      return await retry(
        async () => {
          const headers = { range: `bytes=${first}-${last}`, 'accept-encoding': 'identity' }
          const response = await hub.fetch(url, { headers })
          const size = Number(/^bytes \d+-\d+\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1])
          if (response.status !== 206 || !(size >= 0)) {
            await response.body?.cancel()
            throw new VtpError(`The hub sends no ranges of ${uri}`, {
              code: 'hub_bad_range',
              suggestions: ['a proxy or mirror in between may take them away: try another HF_ENDPOINT'],
            })
          }
          const bytes = await readBody(response, url)
          if (bytes.length !== Math.min(last + 1, size) - first)
            throw new HubNetworkError(url, new Error(`the body ended after ${bytes.length} bytes`))
          return { bytes, size }
        },
        { ...PATIENCE, signal: stop },
      )
    } catch (error) {
      stop?.throwIfAborted()
      if (error instanceof HubStatusError && error.status === 416) return { bytes: Buffer.alloc(0), size: 0 }
      if (error instanceof HubStatusError && (error.hubCode === 'EntryNotFound' || error.status === 404))
        throw new VtpError(`${uri} does not exist`, { code: 'not_found', cause: error })
      throw hubError(error, context)
    }
  }
  const { size } = await request(0, 0)
  return {
    size,
    async read(offset, wanted) {
      const length = Math.max(0, Math.min(wanted, size - offset))
      return length === 0 ? Buffer.alloc(0) : (await request(offset, offset + length - 1)).bytes
    },
  }
}

async function readBody(response: Response, url: string): Promise<Buffer> {
  try {
    return Buffer.from(await response.arrayBuffer())
  } catch (error) {
    if (error instanceof TypeError || systemCode(error)) throw new HubNetworkError(url, error)
    throw error
  }
}
