/** What every answer of the server has in common: headers, errors as JSON, bodies with a limit. */
import type { IncomingMessage, ServerResponse } from 'node:http'

/** An answer that is no success; `message` is for the person at the page. */
export class HttpError extends Error {
  readonly status: number
  readonly code: string
  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

const SECURITY_HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Permissions-Policy': 'camera=(), geolocation=(), microphone=()',
} as const

export function send(
  response: ServerResponse,
  status: number,
  type: string,
  body: string | Uint8Array,
  headers: Record<string, string> = {},
): void {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  response.writeHead(status, {
    ...SECURITY_HEADERS,
    'Cache-Control': 'no-store',
    'Content-Type': type,
    'Content-Length': bytes.length,
    ...headers,
  })
  response.end(response.req.method === 'HEAD' ? undefined : bytes)
}

export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  send(response, status, 'application/json; charset=utf-8', JSON.stringify(value))
}

const tooLong = (maxBytes: number): HttpError =>
  new HttpError(413, 'too_large', `The upload is larger than ${Math.round(maxBytes / 2 ** 20)} MiB.`)

/** Throws HttpError 413 for a body that says it is too long. */
export function assertLength(request: IncomingMessage, maxBytes: number): void {
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLong(maxBytes)
}

/** The whole body. Throws HttpError 413 as soon as it is too long; the rest is not read. */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  assertLength(request, maxBytes)
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > maxBytes) throw tooLong(maxBytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
