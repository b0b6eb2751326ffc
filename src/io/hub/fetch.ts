/** Requests to the hub: our name, the token for the hub's own address only, a time limit, errors that can be told apart. */
import { vtpVersion } from '../../version.js'
import { HubNetworkError, HubStatusError } from './errors.js'
import type { HubSettings } from './settings.js'

const METADATA_TIMEOUT_MS = 20_000

/** Throws HubNetworkError where no answer comes and HubStatusError for an error status. */
export function createHubFetch({ endpoint, token }: HubSettings, stop: AbortSignal | undefined): typeof fetch {
  const home = new URL(endpoint).origin
  return async (input, init) => {
    const url = input instanceof Request ? input.url : String(input)
    const headers = new Headers(init?.headers)
    headers.set('user-agent', `vtp/${vtpVersion()}; node/${process.version}`)
    if (token && new URL(url).origin === home) headers.set('authorization', `Bearer ${token}`)
    // Downloads bring their own limit on silence; metadata is small.
    const signal = init?.signal ?? AbortSignal.any([AbortSignal.timeout(METADATA_TIMEOUT_MS), ...(stop ? [stop] : [])])
    let response: Response
    try {
      response = await fetch(url, { ...init, headers, signal })
    } catch (error) {
      stop?.throwIfAborted()
      throw new HubNetworkError(url, error)
    }
    if (response.ok) return response
    const text = await response.text().catch(() => '')
    const detail = response.headers.get('x-error-message') ?? jsonError(text) ?? ''
    throw new HubStatusError(
      url,
      response.status,
      response.headers.get('x-error-code') ?? undefined,
      detail.slice(0, 200),
    )
  }
}

function jsonError(text: string): string | undefined {
  try {
    const error = (JSON.parse(text) as { error?: unknown }).error
    return typeof error === 'string' ? error : undefined
  } catch {
    return undefined
  }
}
