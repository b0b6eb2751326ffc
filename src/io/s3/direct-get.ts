/**
 * Reading objects without the SDK's middleware, which takes more of the processor than the transfer of a photograph.
 * The SDK answers the first read of a bucket, and says where the bucket lies and how it is signed; further reads are
 * made here, with the same credentials, clock and checksums. Whatever is out of the ordinary is left to the SDK: other
 * ways of signing, redirects, refusals of a signature or a region.
 *
 * Signature: AWS Signature Version 4, docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html.
 */
import { createHash, createHmac } from 'node:crypto'
import http, { type IncomingMessage } from 'node:http'
import https from 'node:https'
import type { S3Client } from '@aws-sdk/client-s3'
import { vtpVersion } from '../../version.js'
import { checksumOf } from './checksums.js'

/** How a bucket is read. */
interface Route {
  protocol: string
  hostname: string
  port: number | undefined
  /** Path in front of the encoded key. */
  prefix: string
  service: string
  region: string
}

export interface DirectRead {
  key: string
  /** Further headers, in lower case. */
  headers: Record<string, string>
  anonymous: boolean
  signal: AbortSignal
}

export interface DirectAnswer {
  response: IncomingMessage
  /** Throws a passing error where a checksum of the service does not fit the whole body. */
  check(body: Buffer): void
}

const CONNECT_TIMEOUT_MS = 10_000
const SOCKET_TIMEOUT_MS = 60_000
const EMPTY_SHA256 = createHash('sha256').digest('hex')
/** Left to the SDK, which follows redirects, corrects clocks and renews what has expired. */
const SDK_STATUS = [301, 307, 308, 400, 401, 403]

/** What a key looks like in a path: everything but unreserved characters and slashes is encoded. */
export function encodeKey(key: string): string {
  const encode = (part: string): string =>
    encodeURIComponent(part).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
  return key.split('/').map(encode).join('/')
}

interface LearntRequest {
  protocol: string
  hostname: string
  port?: number
  path: string
}

export interface DirectReads {
  /** Undefined: the SDK has to make this read. Throws errors of the network, and those of the service as the SDK does. */
  read(client: S3Client, bucket: string, read: DirectRead): Promise<DirectAnswer | undefined>
  /** This bucket is read by the SDK from now on. */
  leave(bucket: string): void
  close(): void
}

/** Watches how a client reads the first object of each bucket. */
export function openDirectReads(client: S3Client, maxSockets: number): DirectReads {
  const routes = new Map<string, Route | 'sdk'>()
  const agents = {
    http: new http.Agent({ keepAlive: true, maxSockets }),
    https: new https.Agent({ keepAlive: true, maxSockets }),
  }
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const result = await next(args)
      const { Bucket: bucket, Key: key } = args.input as { Bucket?: string; Key?: string }
      if (context.commandName === 'GetObjectCommand' && bucket && key && !routes.has(bucket)) {
        const endpoint = context.endpointV2 as Endpoint | undefined
        routes.set(bucket, routeOf(args.request as LearntRequest, endpoint, key) ?? 'sdk')
      }
      return result
    },
    { step: 'finalizeRequest', priority: 'low', name: 'vtpDirectReads' },
  )
  const signer = createSigner()
  const userAgent = `vtp/${vtpVersion()}`
  return {
    async read(from, bucket, { key, headers, anonymous, signal }) {
      const route = routes.get(bucket)
      if (!route || route === 'sdk') return undefined
      const path = route.prefix + encodeKey(key)
      const host = route.port === undefined ? route.hostname : `${route.hostname}:${route.port}`
      const all: Record<string, string> = { ...headers, host, 'x-amz-checksum-mode': 'ENABLED' }
      if (!anonymous) await signer.sign(from, route, path, all)
      const response = await send(route, path, { ...all, 'user-agent': userAgent }, agents, signal)
      const status = response.statusCode!
      if (status === 200 || status === 206) return { response, check: (body) => checkBody(response, body) }
      if (SDK_STATUS.includes(status)) {
        response.resume()
        if (status < 400) routes.set(bucket, 'sdk')
        return undefined
      }
      throw await serviceError(response)
    },
    leave: (bucket) => void routes.set(bucket, 'sdk'),
    close() {
      agents.http.destroy()
      agents.https.destroy()
    },
  }
}

interface Endpoint {
  properties?: { authSchemes?: { name: string; signingName?: string; signingRegion?: string }[] }
}

function routeOf(request: LearntRequest, endpoint: Endpoint | undefined, key: string): Route | undefined {
  const [scheme] = endpoint?.properties?.authSchemes ?? []
  const { signingName: service, signingRegion: region } = scheme ?? {}
  const encoded = encodeKey(key)
  // S3 Express has sessions, some access points sign for several regions.
  if (scheme?.name !== 'sigv4' || service !== 's3' || !region || !request.path.endsWith(`/${encoded}`)) return undefined
  const { protocol, hostname, port, path } = request
  // Addresses in brackets are told to Node otherwise.
  if (hostname.startsWith('[')) return undefined
  return { protocol, hostname, port, prefix: path.slice(0, path.length - encoded.length), service, region }
}

/** Signs for one day and region at a time with the same key. */
function createSigner() {
  let signingKey: { id: string; key: Buffer } | undefined
  const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()
  const keyFor = (secret: string, day: string, { region, service }: Route): Buffer => {
    const id = `${secret}\n${day}\n${region}\n${service}`
    if (signingKey?.id !== id) {
      const key = [day, region, service, 'aws4_request'].reduce<string | Buffer>(hmac, `AWS4${secret}`) as Buffer
      signingKey = { id, key }
    }
    return signingKey.key
  }
  return {
    /** Adds the headers of a signed request without a body. */
    async sign(client: S3Client, route: Route, path: string, headers: Record<string, string>): Promise<void> {
      const { accessKeyId, secretAccessKey, sessionToken } = await client.config.credentials()
      // The SDK has learnt how far this machine's clock is off.
      const now = new Date(Date.now() + client.config.systemClockOffset)
      const time = now.toISOString().replace(/[:-]|\.\d{3}/g, '')
      const day = time.slice(0, 8)
      headers['x-amz-content-sha256'] = EMPTY_SHA256
      headers['x-amz-date'] = time
      if (sessionToken) headers['x-amz-security-token'] = sessionToken
      const names = Object.keys(headers).sort()
      const signed = names.join(';')
      const canonical = `GET\n${path}\n\n${names.map((name) => `${name}:${headers[name]!.trim()}\n`).join('')}\n${signed}\n${EMPTY_SHA256}`
      const scope = `${day}/${route.region}/${route.service}/aws4_request`
      const digest = createHash('sha256').update(canonical).digest('hex')
      const signature = createHmac('sha256', keyFor(secretAccessKey, day, route))
        .update(`AWS4-HMAC-SHA256\n${time}\n${scope}\n${digest}`)
        .digest('hex')
      headers.authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${signed}, Signature=${signature}`
    },
  }
}

function send(
  { protocol, hostname, port }: Route,
  path: string,
  headers: Record<string, string>,
  agents: { http: http.Agent; https: https.Agent },
  signal: AbortSignal,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const secure = protocol === 'https:'
    const options = { hostname, port, path, headers, agent: secure ? agents.https : agents.http }
    const request = secure ? https.request(options) : http.request(options)
    const late = (what: string): void =>
      void request.destroy(Object.assign(new Error(`${what} timed out`), { name: 'TimeoutError' }))
    const stop = (): void => late('the request')
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop, { once: true })
    const done = (): void => signal.removeEventListener('abort', stop)
    request.setTimeout(SOCKET_TIMEOUT_MS, () => late('the connection'))
    request.on('socket', (socket) => {
      if (!socket.connecting) return
      const timer = setTimeout(() => late('connecting'), CONNECT_TIMEOUT_MS)
      socket.once('connect', () => clearTimeout(timer)).once('close', () => clearTimeout(timer))
    })
    request.on('response', (response) => {
      done()
      resolve(response)
    })
    request.on('error', (error) => {
      done()
      reject(error)
    })
    request.end()
  })
}

/** The error of an answer, as the SDK makes it: named by the service's code. */
async function serviceError(response: IncomingMessage): Promise<Error> {
  let text = ''
  for await (const chunk of response) if (text.length < 65_536) text += (chunk as Buffer).toString()
  const field = (name: string): string | undefined => new RegExp(`<${name}>([^<]*)</${name}>`).exec(text)?.[1]
  const { statusCode, statusMessage, headers } = response
  const code = field('Code') ?? (statusCode === 404 ? 'NotFound' : (statusMessage ?? 'Error').replaceAll(' ', ''))
  return Object.assign(new Error(field('Message') ?? code), {
    name: code,
    Code: code,
    $metadata: { httpStatusCode: statusCode },
    $response: { statusCode, headers },
  })
}

function checkBody(response: IncomingMessage, body: Buffer): void {
  if (response.statusCode !== 200) return
  for (const [header, expected] of Object.entries(response.headers)) {
    const [, algorithm] = /^x-amz-checksum-(crc\w+|sha\w+)$/.exec(header) ?? []
    // Of a multipart upload there may be a checksum of the parts' checksums, with their number.
    if (!algorithm || typeof expected !== 'string' || /-\d+$/.test(expected)) continue
    const found = checksumOf(algorithm, body)
    if (found !== undefined && found !== expected)
      throw Object.assign(new Error(`Checksum mismatch: expected "${expected}" but received "${found}"`), {
        name: 'BadDigest',
      })
  }
}
