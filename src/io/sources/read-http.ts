/**
 * Images by http(s) address. Addresses come from data, so they are not trusted: names that lead to this
 * machine or its network are refused where the connection is made (also after redirects and for names
 * that change their address), and size, time and redirects are bounded. Messages never show the address:
 * it may carry a signature.
 */
import { lookup as dnsLookup } from 'node:dns'
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { backoff, jittered, retry } from '../../async/retry.js'
import { systemCode } from '../../errors.js'
import { RejectError } from '../../types.js'

const ATTEMPTS = 5
const FIRST_DELAY_MS = 200
const REDIRECTS = 5
const TIMEOUT_MS = 60_000
const CONNECTIONS_PER_HOST = 16

export interface HttpReadOptions {
  maxBytes: number
  /** Whether addresses of this machine and of private networks may be read. */
  allowPrivate: boolean
  signal?: AbortSignal
}

/** IANA's special-purpose addresses (RFC 6890 and its registry) that are no public hosts. */
// Two lists: one list of both families would take every IPv4 address for the IPv6 address that maps it.
const PRIVATE4 = new BlockList()
const PRIVATE6 = new BlockList()
for (const [net, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const)
  PRIVATE4.addSubnet(net, bits, 'ipv4')
// Only 2000::/3 is public; inside it, tunnels that carry an IPv4 address, and documentation.
for (const [net, bits] of [
  ['::', 3],
  ['4000::', 2],
  ['8000::', 1],
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const)
  PRIVATE6.addSubnet(net, bits, 'ipv6')

/** Whether an IP address is no public one. */
export function isPrivateAddress(address: string): boolean {
  const plain = address.replace(/^\[|\]$/g, '')
  const family = isIP(plain)
  if (family === 6) return PRIVATE6.check(plain, 'ipv6')
  return family === 0 || PRIVATE4.check(plain, 'ipv4')
}

const fail = (code: RejectError['code'], message: string): RejectError => new RejectError(code, 'read', message)
const privateAddress = (): RejectError =>
  fail('unreadable', 'its address lies in a private network; --allow-private-urls permits that')

const publicLookup: LookupFunction = (hostname, options, callback) => {
  dnsLookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (error) return callback(error, '', 0)
    if (addresses.some(({ address }) => isPrivateAddress(address))) return callback(privateAddress() as never, '', 0)
    if (options.all) return (callback as (e: null, a: typeof addresses) => void)(null, addresses)
    const [first] = addresses
    callback(null, first!.address, first!.family)
  })
}

const agents = {
  'http:': new HttpAgent({ keepAlive: true, maxSockets: CONNECTIONS_PER_HOST }),
  'https:': new HttpsAgent({ keepAlive: true, maxSockets: CONNECTIONS_PER_HOST }),
}

/** A failure that may pass. */
class Passing extends Error {
  constructor(
    message: string,
    readonly afterMs = 0,
  ) {
    super(message)
  }
}

/** The bytes behind an address. Throws RejectErrors only (stage `read`). */
export async function readHttp(url: string, options: HttpReadOptions): Promise<Uint8Array> {
  const { signal } = options
  return retry(() => readOnce(url, options), {
    signal,
    again(error, attempt) {
      if (error instanceof RejectError) return undefined
      const passing = error instanceof Passing ? error : undefined
      const message = passing?.message ?? `the connection failed (${systemCode(error) ?? 'error'})`
      if (attempt === ATTEMPTS) throw fail('unreadable', `${message}, ${ATTEMPTS} times`)
      return Math.max(passing?.afterMs ?? 0, jittered(backoff(attempt, FIRST_DELAY_MS)))
    },
  })
}

async function readOnce(start: string, options: HttpReadOptions): Promise<Uint8Array> {
  const deadline = AbortSignal.timeout(TIMEOUT_MS)
  const signal = options.signal ? AbortSignal.any([deadline, options.signal]) : deadline
  let target: URL
  try {
    target = new URL(start)
  } catch {
    throw fail('bad_entry', 'it is not a valid address')
  }
  for (let redirects = 0; ; redirects++) {
    if (target.protocol !== 'http:' && target.protocol !== 'https:')
      throw fail('unreadable', `it leads to ${target.protocol}`)
    const host = target.hostname.replace(/^\[|\]$/g, '')
    if (!options.allowPrivate && isIP(host) && isPrivateAddress(host)) throw privateAddress()
    let response: IncomingMessage
    try {
      response = await get(target, options.allowPrivate, signal)
    } catch (error) {
      if (deadline.aborted) throw new Passing(`it did not answer within ${TIMEOUT_MS / 1000} s`)
      throw error
    }
    const status = response.statusCode ?? 0
    if (status >= 300 && status < 400 && response.headers.location) {
      response.destroy()
      if (redirects === REDIRECTS) throw fail('unreadable', `more than ${REDIRECTS} redirects`)
      try {
        target = new URL(response.headers.location, target)
      } catch {
        throw fail('unreadable', 'it redirects to no valid address')
      }
      continue
    }
    if (status !== 200) {
      response.destroy()
      if (status === 404 || status === 410) throw fail('not_found', `the server answers ${status}`)
      if (status === 429 || status === 408 || status >= 500) {
        const after = Number(response.headers['retry-after'])
        throw new Passing(`the server answers ${status}`, after > 0 ? Math.min(after, 30) * 1000 : 0)
      }
      throw fail('unreadable', `the server answers ${status}`)
    }
    try {
      return await readBody(response, options.maxBytes)
    } catch (error) {
      if (deadline.aborted) throw new Passing(`it took more than ${TIMEOUT_MS / 1000} s`)
      throw error
    }
  }
}

function get(url: URL, allowPrivate: boolean, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest
    const request = send(
      url,
      {
        agent: agents[url.protocol as 'http:' | 'https:'],
        headers: { 'user-agent': 'vtp', accept: 'image/*,*/*;q=0.5' },
        signal,
        ...(allowPrivate ? {} : { lookup: publicLookup }),
      },
      resolve,
    )
    request.once('error', reject)
    request.end()
  })
}

async function readBody(response: IncomingMessage, maxBytes: number): Promise<Uint8Array> {
  const announced = Number(response.headers['content-length'])
  const tooMany = (size: number): RejectError => {
    response.destroy()
    return fail('too_many_bytes', `${size} bytes are more than the limit of ${maxBytes}`)
  }
  if (announced > maxBytes) throw tooMany(announced)
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > maxBytes) throw tooMany(size)
    chunks.push(chunk)
  }
  if (announced >= 0 && size !== announced) throw new Passing(`it ended after ${size} of ${announced} bytes`)
  if (size === 0) throw fail('empty', 'the answer has 0 bytes')
  return new Uint8Array(Buffer.concat(chunks, size))
}
