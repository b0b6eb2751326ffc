/**
 * Addresses without what is secret in them: user and password, and values of the query that look like a
 * signature, a token or a key. What is stored or printed goes through here.
 */

const SECRET_NAME =
  /(sig|token|key|cred|secret|auth|pass|policy|expir|session|code|hmac|hash|^x-amz-|^x-goog-|^x-oss-|^(s[eprtv]|sk\w+|st|sip|spr|ske)$)/i
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
  const user = /^([a-z][a-z0-9+.-]*:\/\/)[^/]*@/i.exec(base)
  if (user) {
    base = user[1] + base.slice(user[0].length)
    secret = true
  }
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
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase()
  if (scheme === undefined || scheme === 'file') return text
  if (scheme === 's3') return text.replace(/^(s3:\/\/)[^/]*@/i, '$1')
  return redactUrl(text).text
}
