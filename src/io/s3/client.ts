/**
 * The connection to object storage, shared by everything in this process: the SDK's client with the
 * standard credential chain, kept-alive connections, one pacer, and one way of trying again that covers
 * sending and reading the answer (the SDK's own retries end when the answer's head has come).
 *
 * Environment: AWS_ENDPOINT_URL (path style then), AWS_REGION, AWS_PROFILE and so on as in every AWS tool;
 * AWS_MAX_ATTEMPTS; AWS_NO_SIGN_REQUEST=YES for public buckets and AWS_REQUEST_PAYER=requester as in GDAL.
 */
import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3'
import { backoff, jittered, retry } from '../../async/retry.js'
import { type DirectReads, openDirectReads } from './direct-get.js'
import { classifyFailure, hasRole, isUncertain, isUnreachable, isWithoutCredentials, s3Error } from './errors.js'
import { createPacer } from './pacer.js'

const MAX_CONNECTIONS = 256
const DEFAULT_ATTEMPTS = 12
const FIRST_DELAY_MS = 100
const LONGEST_DELAY_MS = 20_000
/** Attempts at a server that was never reached: a wrong address should not take a minute to be told. */
const UNREACHABLE_ATTEMPTS = 4
/** Attempts at credentials that were there before, or that a role should give. */
const CREDENTIAL_ATTEMPTS = 6
/** Time that every attempt has, and the slowest transfer that is borne, in bytes per millisecond. */
const BASE_TIMEOUT_MS = 60_000
const SLOWEST_BYTES_PER_MS = 250

const pacer = createPacer({ initial: 64, max: MAX_CONNECTIONS })
/** The client, and the reads that do without most of it. */
interface Opened {
  client: S3Client
  direct: DirectReads
}
let opened: Promise<Opened> | undefined
let everReached = false

/** What this process has asked of object storage so far; for metrics. */
export interface S3Counters {
  requests: Record<string, number>
  retries: number
  slowDowns: number
  concurrencyLimit: number
}
const counters = { requests: {} as Record<string, number>, retries: 0, slowDowns: 0 }
export function s3Counters(): S3Counters {
  return { ...counters, requests: { ...counters.requests }, concurrencyLimit: Math.floor(pacer.limit) }
}

export function requestPayer(): { RequestPayer?: 'requester' } {
  return process.env.AWS_REQUEST_PAYER === 'requester' ? { RequestPayer: 'requester' } : {}
}

/** Whether requests to public buckets go without a signature. */
export function isAnonymous(): boolean {
  return /^(yes|true|1)$/i.test(process.env.AWS_NO_SIGN_REQUEST ?? '')
}

async function openClient(): Promise<S3Client> {
  // A notice about future versions of the SDK is of no use to users of this program.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'
  const endpoint = process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL
  const agent = { keepAlive: true, maxSockets: MAX_CONNECTIONS }
  const config: S3ClientConfig = {
    maxAttempts: 1,
    followRegionRedirects: true,
    forcePathStyle: endpoint !== undefined && endpoint !== '',
    requestHandler: { connectionTimeout: 10_000, socketTimeout: 60_000, httpAgent: agent, httpsAgent: agent },
    logger: { debug() {}, info() {}, warn() {}, error() {} },
  }
  if (isAnonymous()) config.signer = { sign: async (request) => request }
  if (!process.env.AWS_REGION && process.env.AWS_DEFAULT_REGION) config.region = process.env.AWS_DEFAULT_REGION
  const client = new S3Client(config)
  try {
    await client.config.region()
    return client
  } catch {
    client.destroy()
    return new S3Client({ ...config, region: 'us-east-1' })
  }
}

/** The client of this process. */
function s3Client(): Promise<Opened> {
  opened ??= openClient().then((client) => ({ client, direct: openDirectReads(client, MAX_CONNECTIONS) }))
  return opened
}

/** Closes the connections; the next request opens a new client, which reads credentials anew. */
export async function closeS3(): Promise<void> {
  const closing = await opened?.catch(() => undefined)
  opened = undefined
  closing?.client.destroy()
  closing?.direct.close()
}

function maxAttempts(): number {
  const value = Number(process.env.AWS_MAX_ATTEMPTS)
  return Number.isInteger(value) && value > 0 ? value : DEFAULT_ATTEMPTS
}

export interface S3Attempt extends Opened {
  /** Aborts when the attempt takes too long. */
  signal: AbortSignal
  /** Gives the attempt the time that so many bytes may take, from now on. */
  expect(bytes: number): void
  /** Whether an earlier attempt may have had its effect: its answer was lost. */
  uncertain: boolean
}

export interface S3Call {
  /** For people, e.g. "Cannot read". */
  action: string
  /** Short name, for counters. */
  operation: string
  uri: string
  /** Bytes that travel, for the time limit. */
  sizeBytes?: number
  /** Ends the call, with the signal's reason. */
  stop?: AbortSignal
}

/** A signal that aborts when the bytes that are expected have had their time; not before any are. */
function timeLimit(): { signal: AbortSignal; expect(bytes: number): void; clear(): void } {
  const controller = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const expect = (size: number): void => {
    clearTimeout(timer)
    timer = setTimeout(
      () => controller.abort(new DOMException('timed out', 'TimeoutError')),
      BASE_TIMEOUT_MS + Math.ceil(size / SLOWEST_BYTES_PER_MS),
    )
  }
  return { signal: controller.signal, expect, clear: () => clearTimeout(timer) }
}

/**
 * What said last that credentials have expired; nothing after a success. Renewing them closes the connections of every
 * call, so that those fail with other words.
 */
let expiry: unknown

/**
 * Makes a request, with patience: passing failures are tried again with growing, random delays. Throws
 * VtpErrors (errors.ts).
 */
export async function callS3<T>(call: S3Call, send: (attempt: S3Attempt) => Promise<T>): Promise<T> {
  let uncertain = false
  let renewed = 0
  let limit: ReturnType<typeof timeLimit>
  const attempt = async (): Promise<T> => {
    limit = timeLimit()
    try {
      const result = await pacer.run(async () => {
        call.stop?.throwIfAborted()
        counters.requests[call.operation] = (counters.requests[call.operation] ?? 0) + 1
        limit.expect(call.sizeBytes ?? 0)
        const signal = call.stop ? AbortSignal.any([limit.signal, call.stop]) : limit.signal
        return send({ ...(await s3Client()), signal, expect: limit.expect, uncertain })
      })
      pacer.succeeded()
      everReached = true
      expiry = undefined
      return result
    } finally {
      limit.clear()
    }
  }
  const again = async (error: unknown, attempts: number): Promise<number> => {
    const kind = classifyFailure(error)
    if (isUncertain(error)) uncertain = true
    // A request that takes for ever is a service (or a line) with too much to do.
    if (kind === 'throttled' || limit.signal.aborted) {
      counters.slowDowns++
      pacer.slowDown()
    }
    if (kind === 'expired') expiry = error
    if (kind === 'expired' && renewed++ < 2) await closeS3()
    else if (kind === 'expired') throw s3Error(call.action, call.uri, error)
    const known = isWithoutCredentials(error) && (everReached || hasRole(process.env))
    if (known) await closeS3()
    const patience = known
      ? Math.min(maxAttempts(), CREDENTIAL_ATTEMPTS)
      : isUnreachable(error) && !everReached
        ? UNREACHABLE_ATTEMPTS
        : maxAttempts()
    if (kind === 'lasting' && !known) throw s3Error(call.action, call.uri, error)
    if (attempts >= patience) throw s3Error(call.action, call.uri, expiry ?? error, known)
    counters.retries++
    return jittered(backoff(attempts, FIRST_DELAY_MS, LONGEST_DELAY_MS))
  }
  return retry(attempt, { again, signal: call.stop })
}
