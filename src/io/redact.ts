/**
 * Addresses without what is secret in them: user and password, and values of the query that look like a
 * signature, a token or a key. What is stored or printed goes through here.
 */

const SECRET_NAME =
  /(sig|token|key|cred|secret|auth|pass|policy|expir|session|code|hmac|hash|^x-amz-|^x-goog-|^x-oss-|^(s[eprtv]|sk\w+|st|sip|spr|ske)$)/i
// Schemes have a bounded length below: a search for them in a long name would take the square of its length.

/** Values of this length carry entropy, not a size or a page number. */
const LONGEST_PLAIN_VALUE = 32

export interface RedactedUrl {
  text: string
  /** Whether something was left out: the text is no address to read from any more. */
  secret: boolean
}

export function redactUrl(url: string): RedactedUrl {
  const [withoutFragment = ''] = url.split('#')
  const at = withoutFragment.indexOf('?')
  let base = at < 0 ? withoutFragment : withoutFragment.slice(0, at)
  let secret = false
  // Also behind too many slashes, which readers forgive, and in an address within the address.
  base = base.replace(/([a-z][a-z0-9+.-]{0,40}:[/\\]{2,})[^/\\]*@/gi, (_, scheme: string) => {
    secret = true
    return scheme
  })
  if (at < 0) return { text: base, secret }
  const parts = withoutFragment
    .slice(at + 1)
    .split('&')
    .map((part) => {
      const equals = part.indexOf('=')
      const name = equals < 0 ? '' : part.slice(0, equals)
      const value = equals < 0 ? part : part.slice(equals + 1)
      if (!SECRET_NAME.test(name) && value.length <= LONGEST_PLAIN_VALUE) return part
      secret = true
      return name === '' ? '…' : `${name}=…`
    })
  return { text: `${base}?${parts.join('&')}`, secret }
}

/** What may be shown and stored of an address or a path; paths and s3:// keys are literal and stay as they are. */
export function shownAddress(text: string): string {
  const found = /([a-z][a-z0-9+.-]{0,40}):[/\\]{2}/i.exec(text)
  const scheme = found?.[1]?.toLowerCase()
  if (!found || scheme === 'file') return text
  const [before, address] = [text.slice(0, found.index), text.slice(found.index)]
  return before + (scheme === 's3' ? address.replace(/^(s3:\/+)[^/]*@/i, '$1') : redactUrl(address).text)
}
