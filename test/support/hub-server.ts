/**
 * A stand-in for a Hugging Face hub that speaks the real protocol: model info, file tree (in pages),
 * `resolve` with redirects and `X-Linked-*` headers, byte ranges on a second server that stands for the
 * content network, private repositories, and faults: cut connections, silence, damaged bytes, error statuses.
 */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'

export interface HubFile {
  bytes: Buffer
  /** Large files have a SHA-256 and come from the content network. */
  lfs?: boolean
}

export interface HubRequest {
  server: 'hub' | 'cdn'
  path: string
  range: string | undefined
  authorization: string | undefined
}

export interface HubServer {
  endpoint: string
  requests: HubRequest[]
  /** Requests that are answered next by these faults, first in first out. */
  faults: HubFault[]
  /** Makes the branch point elsewhere. */
  setCommit(revision: string, commit: string): void
  stop(): Promise<void>
}

export type HubFault =
  /** Of a large file's body: sends so many bytes, then cuts the connection. */
  | { kind: 'cut'; afterBytes: number }
  /** Sends so many bytes, then nothing more. */
  | { kind: 'silence'; afterBytes: number }
  /** Sends the body with one wrong byte. */
  | { kind: 'damage' }
  /** Ignores the range that was asked for. */
  | { kind: 'ignore-range' }
  /** Any request: this status. */
  | { kind: 'status'; status: number }

export interface HubRepo {
  name: string
  /** Whether it is a dataset; else a model. */
  dataset?: boolean
  files: Record<string, HubFile>
  /** Revision → commit. */
  revisions: Record<string, string>
  /** Only this token may read. */
  token?: string
  /** Readable only by accounts that were let in. */
  gated?: boolean
}

export const COMMIT_A = 'a'.repeat(40)
export const COMMIT_B = 'b'.repeat(40)

export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
export const gitSha1 = (bytes: Buffer): string =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')

/** A hub that goes with the test. */
export async function startHub(repo: HubRepo): Promise<HubServer> {
  const server = await serveHub(repo)
  onTestFinished(() => server.stop())
  return server
}

/** A hub that runs until it is stopped. */
export async function serveHub(repo: HubRepo): Promise<HubServer> {
  const requests: HubRequest[] = []
  const faults: HubFault[] = []
  const commits = new Set(Object.values(repo.revisions))

  const record = (server: 'hub' | 'cdn', request: IncomingMessage): void => {
    const { range, authorization } = request.headers
    requests.push({ server, path: request.url ?? '', range, authorization })
  }
  const takeFault = (...kinds: HubFault['kind'][]): HubFault | undefined =>
    faults[0] && kinds.includes(faults[0].kind) ? faults.shift() : undefined

  const cdn = await listen((request, response) => {
    record('cdn', request)
    const url = new URL(request.url ?? '/', 'http://cdn')
    const file = Object.values(repo.files).find(({ bytes }) => url.pathname === `/${sha256(bytes)}`)
    if (!file || !url.searchParams.has('signature')) return void end(response, 403, 'no signature')
    sendBytes(request, response, file.bytes, takeFault('cut', 'silence', 'damage', 'ignore-range'))
  })

  const hub = await listen((request, response) => {
    record('hub', request)
    const fault = takeFault('status')
    if (fault?.kind === 'status') return void end(response, fault.status, 'fault')
    const url = new URL(request.url ?? '/', hub.origin)
    if (repo.token && request.headers.authorization !== `Bearer ${repo.token}`) {
      response.setHeader('x-error-code', 'RepoNotFound')
      return void json(response, 401, { error: 'Invalid username or password.' })
    }
    const api = repo.dataset ? '/api/datasets' : '/api/models'
    const info = new RegExp(`^${api}/([^/]+/[^/]+)/revision/([^/]+)$`).exec(url.pathname)
    if (info) return void sendInfo(response, info[1]!, decodeURIComponent(info[2]!))
    const tree = new RegExp(`^${api}/([^/]+/[^/]+)/tree/([^/]+)$`).exec(url.pathname)
    if (tree && tree[1] === repo.name && commits.has(tree[2]!)) return void sendTree(response, url)
    const resolve = new RegExp(`^(/cached)?${repo.dataset ? '/datasets' : ''}/${repo.name}/resolve/([^/]+)/(.+)$`).exec(
      url.pathname,
    )
    if (resolve && commits.has(resolve[2]!))
      return void sendResolve(request, response, resolve[3]!, resolve[1] !== undefined)
    response.setHeader('x-error-code', 'RepoNotFound')
    json(response, 404, { error: 'Repository not found' })
  })

  function sendInfo(response: ServerResponse, name: string, revision: string): void {
    if (name !== repo.name) {
      response.setHeader('x-error-code', 'RepoNotFound')
      return void json(response, 404, { error: 'Repository not found' })
    }
    const sha = commits.has(revision) ? revision : repo.revisions[revision]
    if (!sha) {
      response.setHeader('x-error-code', 'RevisionNotFound')
      return void json(response, 404, { error: `Invalid rev id: ${revision}` })
    }
    json(response, 200, {
      _id: '1',
      siblings: Object.keys(repo.files).map((rfilename) => ({ rfilename })),
      id: name,
      sha,
      private: false,
      gated: false,
      downloads: 1,
      likes: 1,
      lastModified: '2026-01-01T00:00:00.000Z',
    })
  }

  /** Two entries a page, so that clients must follow the links. */
  function sendTree(response: ServerResponse, url: URL): void {
    const entries: object[] = [{ type: 'directory', oid: gitSha1(Buffer.from('d')), size: 0, path: 'assets' }]
    for (const [path, { bytes, lfs }] of Object.entries(repo.files)) {
      const pointer = { oid: sha256(bytes), size: bytes.length, pointerSize: 134 }
      entries.push({ type: 'file', oid: gitSha1(bytes), size: bytes.length, path, ...(lfs ? { lfs: pointer } : {}) })
    }
    const from = Number(url.searchParams.get('cursor') ?? 0)
    if (from + 2 < entries.length) {
      url.searchParams.set('cursor', String(from + 2))
      response.setHeader('link', `<${url.href}>; rel="next"`)
    }
    json(response, 200, entries.slice(from, from + 2))
  }

  function sendResolve(request: IncomingMessage, response: ServerResponse, name: string, isCached: boolean): void {
    const file = repo.files[name]
    if (!file) {
      response.setHeader('x-error-code', 'EntryNotFound')
      return void end(response, 404, 'Entry not found')
    }
    if (repo.gated) {
      response.setHeader('x-error-code', 'GatedRepo')
      return void json(response, 403, { error: `Access to model ${repo.name} is restricted` })
    }
    response.setHeader('x-repo-commit', /resolve\/([^/]+)/.exec(request.url!)![1]!)
    if (file.lfs) {
      response.setHeader('x-linked-etag', `"${sha256(file.bytes)}"`)
      response.setHeader('x-linked-size', String(file.bytes.length))
      response.setHeader('location', `${cdn.origin}/${sha256(file.bytes)}?signature=topsecret`)
      return void end(response, 302, '')
    }
    if (!isCached) {
      response.setHeader('location', `/cached${request.url}`)
      return void end(response, 307, '')
    }
    response.setHeader('etag', `"${gitSha1(file.bytes)}"`)
    sendBytes(request, response, file.bytes, undefined)
  }

  return {
    endpoint: hub.origin,
    requests,
    faults,
    setCommit(revision, commit) {
      repo.revisions[revision] = commit
      commits.add(commit)
    },
    async stop() {
      await Promise.all([close(hub.server), close(cdn.server)])
    },
  }
}

function sendBytes(
  request: IncomingMessage,
  response: ServerResponse,
  bytes: Buffer,
  fault: HubFault | undefined,
): void {
  const range = fault?.kind === 'ignore-range' ? null : /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
  const start = range ? Number(range[1]) : 0
  if (range && start >= bytes.length) return void end(response, 416, '')
  const until = Math.min(range?.[2] ? Number(range[2]) + 1 : bytes.length, bytes.length)
  const body = Buffer.from(bytes.subarray(start, until))
  if (fault?.kind === 'damage') body[0] = body[0]! ^ 1
  const headers: Record<string, string> = { 'content-length': String(body.length), 'accept-ranges': 'bytes' }
  if (range) headers['content-range'] = `bytes ${start}-${until - 1}/${bytes.length}`
  response.writeHead(range ? 206 : 200, headers)
  if (fault?.kind === 'cut' || fault?.kind === 'silence') {
    response.write(body.subarray(0, fault.afterBytes), () => {
      if (fault.kind === 'cut') setTimeout(() => response.destroy(), 20)
    })
    return
  }
  response.end(body)
}

function json(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(value))
}

function end(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status)
  response.end(text)
}

async function listen(handle: (request: IncomingMessage, response: ServerResponse) => void) {
  const server = createServer(handle)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { server, origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

function close(server: Server): Promise<void> {
  server.closeAllConnections()
  return new Promise((resolve) => server.close(() => resolve()))
}
