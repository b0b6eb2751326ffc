/**
 * Every failure of the hub as one VtpError that says the address, the status and what to try. Addresses
 * are shown without their query (signed links) and no text ever holds the token.
 */
import { EXIT, errorText, systemCode, VtpError } from '../../errors.js'

/** An answer with an error status. */
export class HubStatusError extends Error {
  readonly url: string
  readonly status: number
  /** `X-Error-Code`, e.g. RepoNotFound, GatedRepo. */
  readonly hubCode: string | undefined
  constructor(url: string, status: number, hubCode: string | undefined, detail: string) {
    super(`status ${status}${detail ? `: ${detail}` : ''}`)
    this.name = 'HubStatusError'
    this.url = url
    this.status = status
    this.hubCode = hubCode
  }
}

/** No answer at all: a name that does not resolve, a refused or cut connection, a time-out. */
export class HubNetworkError extends Error {
  readonly url: string
  constructor(url: string, cause: unknown) {
    super(networkText(cause), { cause })
    this.name = 'HubNetworkError'
    this.url = url
  }
}

/** `fetch failed` says nothing; its cause does. */
function networkText(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined
  const code = systemCode(cause) ?? systemCode(error)
  const detail = cause instanceof Error && cause.message ? cause.message : errorText(error)
  return code && !detail.includes(code) ? `${detail} (${code})` : detail
}

/** An address without what may be secret in it. */
export function shownUrl(url: string): string {
  try {
    const { origin, pathname } = new URL(url)
    return origin + pathname
  } catch {
    return url.replace(/\?.*$/, '')
  }
}

/** The worth-a-second-try failures: no answer, too many requests, the server's own trouble. */
export function isPassing(error: unknown): boolean {
  if (error instanceof HubNetworkError) return true
  return error instanceof HubStatusError && (error.status === 408 || error.status === 429 || error.status >= 500)
}

export interface HubErrorContext {
  /** As the user wrote it, e.g. `org/name@main`. */
  ref: string
  endpoint: string
  hasToken: boolean
  kind?: 'model' | 'dataset'
}

const COPY_HINT =
  'or copy the folder with config.json and model.safetensors to this machine and give its path as the model'

/** The error that users see. */
export function hubError(error: unknown, { ref, endpoint, hasToken, kind = 'model' }: HubErrorContext): unknown {
  if (error instanceof HubNetworkError) {
    return new VtpError(`The hub cannot be reached for ${ref}: ${shownUrl(error.url)}: ${error.message}`, {
      code: 'hub_unreachable',
      suggestions: [
        'check the network; HF_ENDPOINT chooses a mirror',
        ...(kind === 'dataset'
          ? ['or download the files elsewhere and give their folder as SOURCE']
          : [
              `on a closed network run \`vtp model pull ${ref}\` elsewhere, copy its cache folder here (HF_HUB_CACHE) and set HF_HUB_OFFLINE=1`,
              COPY_HINT,
            ]),
      ],
      cause: error,
    })
  }
  if (!(error instanceof HubStatusError)) return error
  const { status, hubCode } = error
  const name = ref.replace(/@.*$/, '')
  const fail = (code: string, what: string, suggestions: string[], exitCode: 2 | 3 = EXIT.failed): VtpError =>
    new VtpError(`${what} (${shownUrl(error.url)}: ${error.message})`, { code, exitCode, suggestions, cause: error })
  if (hubCode === 'RevisionNotFound') {
    return fail(
      'hub_revision_missing',
      `The ${kind} ${name} has no revision "${ref.split('@')[1] ?? 'main'}"`,
      ['give a branch, a tag or a commit after the @, or leave it out for the default branch'],
      EXIT.usage,
    )
  }
  if (hubCode === 'GatedRepo' || status === 403) {
    return fail('hub_forbidden', `Access to the ${kind} ${name} is refused`, [
      `ask for access on ${endpoint}/${kind === 'dataset' ? 'datasets/' : ''}${name}, then try again`,
      hasToken
        ? 'check that HF_TOKEN belongs to an account with access and may read'
        : 'set HF_TOKEN to a token with read access',
    ])
  }
  if (status === 401) {
    return fail('hub_unauthorized', `The hub does not let us read the ${kind} ${name}`, [
      hasToken
        ? 'HF_TOKEN is set but was not accepted: check that it is valid and may read it'
        : `a private ${kind} needs HF_TOKEN (or the token file that \`hf auth login\` writes)`,
      `check the spelling: the hub answers the same for a ${kind} that does not exist`,
    ])
  }
  if (status === 404) {
    return fail(
      'hub_not_found',
      `The hub has no ${kind} ${name}`,
      [
        kind === 'model' ? 'check the spelling, e.g. MiniMaxAI/VTP-Large-f16d64' : 'check the spelling',
        ...(hasToken ? [] : [`a private ${kind} needs HF_TOKEN`]),
      ],
      EXIT.usage,
    )
  }
  if (status === 429)
    return fail('hub_busy', `The hub refuses more requests for now, asked for ${name}`, [
      'wait some minutes and try again',
    ])
  return fail('hub_failed', `The hub failed while serving ${name}`, [
    'try again later',
    ...(kind === 'model' ? [COPY_HINT] : []),
  ])
}
