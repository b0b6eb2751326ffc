/**
 * `vtp serve`: the page and its API over node:http. It answers on loopback unless told otherwise, reads no
 * file that a request names (images are found by row id, through the index), and closes what takes too long.
 */
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { errorText, usageError } from '../../errors.js'
import { packageFile } from '../../package.js'
import type { Embedder } from '../embedder.js'
import type { OpenIndex } from '../open-index.js'
import type { Api } from './answers.js'
import { createApi } from './api.js'
import { hostCheck } from './hosts.js'
import { assertLength, HttpError, readBody, send, sendJson } from './http.js'
import { createLimit, type Limit } from './limit.js'
import { readOriginal } from './original.js'
import { createThumbnails, THUMBNAIL_SIZES, type Thumbnails } from './thumbnails.js'

const PAGES: Record<string, [file: string, type: string]> = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/app.js': ['app.js', 'text/javascript; charset=utf-8'],
  '/style.css': ['style.css', 'text/css; charset=utf-8'],
  '/icon.svg': ['icon.svg', 'image/svg+xml'],
}
const KNOWN = ['/api/info', '/api/search', '/api/sample', '/api/results.csv', '/api/upload']
const WEB_FOLDER = packageFile('web/')
const MAX_UPLOAD_BYTES = 20 * 2 ** 20
const MAX_JSON_BYTES = 64 * 2 ** 10
/** Uploads, and originals, that are in memory at once, and those that wait for their turn. */
const UPLOADS_AT_ONCE = 2
const UPLOADS_WAITING = 16

export interface ServeOptions {
  host: string
  /** 0 takes any free one. */
  port: number
  /** Anything unexpected, for the log. */
  onError?: (message: string) => void
}

export interface SearchServer {
  readonly url: string
  close(): Promise<void>
}

interface Context {
  api: Api
  thumbnails: Thumbnails
  pages: Map<string, Buffer>
  /** Whether requests for a host of this name are answered. */
  answersTo: (name: string) => boolean
  uploads: Limit
  index: OpenIndex
  originals: Limit
}

/** Starts to listen. Throws usage errors for a port that is taken or an address that is not this machine's. */
export async function startServer(index: OpenIndex, embedder: Embedder, options: ServeOptions): Promise<SearchServer> {
  const pages = new Map<string, Buffer>()
  for (const [file] of Object.values(PAGES)) pages.set(file, await readFile(new URL(file, WEB_FOLDER)))
  const context: Context = {
    api: createApi(index, embedder),
    thumbnails: createThumbnails(index.reader),
    pages,
    answersTo: hostCheck(options.host),
    uploads: createLimit(UPLOADS_AT_ONCE, UPLOADS_WAITING),
    index,
    originals: createLimit(UPLOADS_AT_ONCE, UPLOADS_WAITING),
  }
  const server = createServer({ requestTimeout: 60_000, headersTimeout: 15_000, keepAliveTimeout: 5_000 })
  server.maxConnections = 512
  server.on('request', (request, response) => {
    answer(request, response, context).catch((error: unknown) => fail(request, response, error, options.onError))
  })
  await listen(server, options)
  const { port } = server.address() as AddressInfo
  const host = options.host.includes(':') ? `[${options.host}]` : options.host
  return {
    url: `http://${host}:${port}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function listen(server: Server, { host, port }: ServeOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE'
      const what = taken ? `Port ${port} is taken` : `Cannot listen on ${host}:${port}: ${error.message}`
      reject(usageError('cannot_listen', what, ['choose another --port, or --port 0 for any free one']))
    })
    server.listen(port, host, resolve)
  })
}

async function answer(request: IncomingMessage, response: ServerResponse, context: Context): Promise<void> {
  guard(request, context)
  let url: URL
  try {
    url = new URL(request.url ?? '/', 'http://localhost')
  } catch {
    throw new HttpError(400, 'bad_url', 'The address cannot be read.')
  }
  const { pathname } = url
  const { method = 'GET' } = request
  const reads = method === 'GET' || method === 'HEAD'
  const page = Object.hasOwn(PAGES, pathname) ? PAGES[pathname] : undefined
  if (page) {
    if (!reads) throw new HttpError(405, 'bad_method', 'Only GET works here.')
    return send(response, 200, page[1], context.pages.get(page[0])!)
  }
  if (pathname === '/api/info' && reads) return sendJson(response, 200, await context.api.info())
  if (pathname === '/api/search' && reads)
    return sendJson(response, 200, await context.api.search(Object.fromEntries(url.searchParams)))
  if (pathname === '/api/search' && method === 'POST')
    return sendJson(response, 200, await context.api.search(parseJson(await readBody(request, MAX_JSON_BYTES))))
  if (pathname === '/api/sample' && reads)
    return sendJson(response, 200, await context.api.sample(Object.fromEntries(url.searchParams)))
  if (pathname === '/api/results.csv' && reads)
    return send(response, 200, 'text/csv; charset=utf-8', await context.api.csv(Object.fromEntries(url.searchParams)), {
      'Content-Disposition': 'attachment; filename="results.csv"',
    })
  if (pathname === '/api/upload' && method === 'POST') return sendJson(response, 200, await upload(request, context))
  const [, kind, id] = /^\/api\/(rows|thumbnails|originals)\/(\d{1,12})$/.exec(pathname) ?? []
  if (kind === 'rows' && reads) return sendJson(response, 200, await context.api.row(Number(id)))
  if (kind === 'thumbnails' && reads) return sendThumbnail(request, response, url, Number(id), context)
  if (kind === 'originals' && reads) return sendOriginal(response, Number(id), context)
  const known = KNOWN.includes(pathname) || kind !== undefined
  throw known
    ? new HttpError(405, 'bad_method', `${method} does not work here.`)
    : new HttpError(404, 'not_found', 'There is nothing at this address.')
}

function upload(request: IncomingMessage, { api, uploads }: Context): Promise<{ image: string }> {
  assertLength(request, MAX_UPLOAD_BYTES)
  const waiting = uploads.run(async () => api.upload(await readBody(request, MAX_UPLOAD_BYTES)))
  if (!waiting) throw new HttpError(503, 'busy', 'Too many images are being read: try again in a moment.')
  return waiting
}

/** Another site must not use a browser to reach this server (DNS rebinding, cross-site requests). */
function guard(request: IncomingMessage, { answersTo }: Context): void {
  const host = request.headers.host ?? ''
  if (!answersTo(host.replace(/:\d+$/, '').toLowerCase()))
    throw new HttpError(403, 'bad_host', 'This server answers to its own address only.')
  const { origin } = request.headers
  if (origin !== undefined && origin !== `http://${host}`)
    throw new HttpError(403, 'bad_origin', 'Another site may not use this server.')
  // Images and scripts of another site come without an origin, but browsers say where they come from. A link to the
  // page may be followed from anywhere.
  const { 'sec-fetch-site': site, 'sec-fetch-mode': mode } = request.headers
  const isOwn = site === undefined || site === 'same-origin' || site === 'none'
  if (!isOwn && !(mode === 'navigate' && request.method === 'GET' && !request.url?.startsWith('/api/')))
    throw new HttpError(403, 'bad_site', 'Another site may not use this server.')
}

function parseJson(body: Buffer): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(body.toString())
  } catch {
    throw new HttpError(400, 'bad_json', 'The body is not JSON.')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new HttpError(400, 'bad_json', 'The body is not a JSON object.')
  return value as Record<string, unknown>
}

async function sendThumbnail(
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
  id: number,
  { api, thumbnails }: Context,
): Promise<void> {
  const size = Number(url.searchParams.get('size') ?? THUMBNAIL_SIZES[0])
  if (!(THUMBNAIL_SIZES as readonly number[]).includes(size))
    throw new HttpError(400, 'bad_size', `size is one of ${THUMBNAIL_SIZES.join(', ')}.`)
  await api.row(id)
  const tag = `"${api.version}-${id}-${size}"`
  const headers = { 'Cache-Control': 'private, max-age=3600', ETag: tag }
  if (request.headers['if-none-match'] === tag) return send(response, 304, 'image/webp', '', headers)
  send(response, 200, 'image/webp', await thumbnails.get(id, size), headers)
}

/** The image as it lies there, whatever its size: a link of the page, so the name is its own. */
async function sendOriginal(response: ServerResponse, id: number, { api, index, originals }: Context): Promise<void> {
  await api.row(id)
  const [row] = await index.reader.rows([id])
  const reading = originals.run(() => readOriginal(row!))
  if (!reading) throw new HttpError(503, 'busy', 'Too many images are being read: try again in a moment.')
  const { bytes, type, name } = await reading
  // By way of bytes: half a surrogate pair cannot be encoded.
  const encoded = encodeURIComponent(Buffer.from(name).toString()).replace(
    /['()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16)}`,
  )
  const disposition = `inline; filename*=UTF-8''${encoded}`
  send(response, 200, type, bytes, { 'Content-Disposition': disposition })
}

function fail(
  request: IncomingMessage,
  response: ServerResponse,
  error: unknown,
  onError: ServeOptions['onError'],
): void {
  // The browser has gone.
  if (request.destroyed && !request.complete) return void response.destroy()
  const known = error instanceof HttpError
  if (!known) onError?.(`${request.method} ${request.url?.slice(0, 200)}: ${errorText(error)}`)
  if (response.headersSent) return void response.destroy()
  const status = known ? error.status : 500
  const code = known ? error.code : 'internal_error'
  const message = known ? error.message : 'Something went wrong; the server’s log says what.'
  // What was not read of a body must not be taken for the next request.
  if (!request.complete) response.setHeader('Connection', 'close')
  sendJson(response, status, { error: { code, message } })
}
