/**
 * An HTTP proxy that makes object storage as bad as it gets: errors, resets, bodies that end early, answers
 * that are lost after the work was done, and distance. What it does follows from its seed and the order of
 * the requests.
 */
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export type Fault = 'error-500' | 'slow-down-503' | 'reset' | 'truncate' | 'drop-answer'
export const FAULTS: Fault[] = ['error-500', 'slow-down-503', 'reset', 'truncate', 'drop-answer']

/** An answer made by the proxy instead of the server. */
export interface Answer {
  status: number
  code: string
  headers?: Record<string, string>
}

export interface FaultProxyOptions {
  /** Port of the real server. */
  port: number
  /** Share of requests that fail, from 0 to 1. */
  rate?: number
  faults?: Fault[]
  seed?: number
  /** Every answer comes this much later. */
  delayMs?: number
  /** Answers some requests itself. */
  answer?: (request: IncomingMessage, count: number) => Answer | undefined
}

export interface FaultProxy {
  endpoint: string
  /** Requests that came, and faults that were done, by kind. */
  requests: number
  done: Record<string, number>
  options: FaultProxyOptions
  close(): Promise<void>
}

const errorBody = (code: string): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>by the fault proxy</Message></Error>`

export async function startFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  let state = (options.seed ?? 1) >>> 0 || 1
  const random = (): number => {
    state ^= state << 13
    state >>>= 0
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state / 2 ** 32
  }
  const server = createServer((request, response) => void handle(request, response).catch(() => response.destroy()))
  const proxy: FaultProxy = {
    endpoint: '',
    requests: 0,
    done: {},
    options,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { rate = 0, faults = FAULTS, delayMs = 0 } = proxy.options
    const count = proxy.requests++
    const fault = random() < rate ? faults[Math.floor(random() * faults.length)] : undefined
    if (fault) proxy.done[fault] = (proxy.done[fault] ?? 0) + 1
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    if (delayMs > 0) await sleep(delayMs)
    const answer = proxy.options.answer?.(request, count)
    const refuse = (status: number, code: string, headers: Record<string, string> = {}): void => {
      response.writeHead(status, { 'content-type': 'application/xml', ...headers }).end(errorBody(code))
    }
    if (answer) return refuse(answer.status, answer.code, answer.headers)
    if (fault === 'error-500') return refuse(500, 'InternalError')
    if (fault === 'slow-down-503') return refuse(503, 'SlowDown')
    if (fault === 'reset') return void request.socket.destroy()
    const { status, headers, body } = await forward(request, Buffer.concat(chunks))
    if (fault === 'drop-answer') return void request.socket.destroy()
    response.writeHead(status, headers)
    if (fault === 'truncate' && body.length > 1) {
      response.write(body.subarray(0, body.length >> 1))
      await sleep(5)
      request.socket.destroy()
      return
    }
    response.end(body)
  }

  function forward(
    request: IncomingMessage,
    body: Buffer,
  ): Promise<{ status: number; headers: IncomingMessage['headers']; body: Buffer }> {
    return new Promise((resolve, reject) => {
      const { method, url, headers } = request
      const sent = httpRequest({ host: '127.0.0.1', port: options.port, method, path: url, headers }, (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk: Buffer) => chunks.push(chunk))
        answer.on('error', reject)
        answer.on('end', () =>
          resolve({ status: answer.statusCode ?? 502, headers: answer.headers, body: Buffer.concat(chunks) }),
        )
      })
      sent.on('error', reject)
      sent.end(body)
    })
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  proxy.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return proxy
}
