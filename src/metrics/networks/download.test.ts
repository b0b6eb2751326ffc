/** Downloads of weights from a server on this machine that stands for the public ones. */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { tempDir } from '../../../test/support/cli.js'
import { downloadWeights } from './download.js'

const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) >>> 5))
const known = {
  title: 'Some network',
  file: 'network.pth',
  url: 'http://public.invalid/network.pth',
  sha256: createHash('sha256').update(bytes).digest('hex'),
  bytes: bytes.length,
}

/** Starts a server; its requests are answered in turn, the last answer repeats. */
async function serve(...answers: ((request: IncomingMessage, response: ServerResponse) => void)[]) {
  const requests: { url: string; range: string | undefined }[] = []
  const server = createServer((request, response) => {
    requests.push({ url: request.url!, range: request.headers.range })
    answers[Math.min(requests.length, answers.length) - 1]!(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { requests, baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/weights/` }
}

const whole = (_: IncomingMessage, response: ServerResponse): void =>
  void response.writeHead(200, { 'content-length': bytes.length }).end(bytes)
const cutAfter =
  (count: number) =>
  (_: IncomingMessage, response: ServerResponse): void => {
    response.writeHead(200, { 'content-length': bytes.length })
    response.write(bytes.subarray(0, count), () => setTimeout(() => response.destroy(), 50))
  }
const rest = (request: IncomingMessage, response: ServerResponse): void => {
  const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')![1])
  const range = `bytes ${start}-${bytes.length - 1}/${bytes.length}`
  response.writeHead(206, { 'content-range': range, 'content-length': bytes.length - start })
  response.end(bytes.subarray(start))
}

function target(): string {
  return path.join(tempDir(), 'weights', known.file)
}

it('follows redirects, and the file has its name when it is whole', async () => {
  const file = target()
  const redirect = (_: IncomingMessage, response: ServerResponse): void =>
    void response.writeHead(302, { location: '/elsewhere?signature=1' }).end()
  const { requests, baseUrl } = await serve(redirect, whole)
  const notes: string[] = []
  await downloadWeights(known, file, { baseUrl, onNote: (line) => notes.push(line) })
  expect(requests.map(({ url }) => url)).toEqual(['/weights/network.pth', '/elsewhere?signature=1'])
  expect(readFileSync(file).equals(bytes)).toBe(true)
  expect(readdirSync(path.dirname(file))).toEqual([known.file])
  expect(notes[0]).toBe(`Downloading Some network, 0.300 MB: ${baseUrl}network.pth`)
})

it('goes on where a connection was cut', async () => {
  const file = target()
  const { requests, baseUrl } = await serve(cutAfter(100_000), rest)
  await downloadWeights(known, file, { baseUrl, retryDelayMs: 1 })
  expect(requests.map(({ range }) => range)).toEqual([undefined, 'bytes=100000-'])
  expect(readFileSync(file).equals(bytes)).toBe(true)
})

it('a file with another SHA-256 is refused and removed', async () => {
  const file = target()
  const damaged = Buffer.from(bytes)
  damaged[1234]! ^= 1
  const { baseUrl } = await serve((_, response) => void response.end(damaged))
  const failure = downloadWeights(known, file, { baseUrl, retryDelayMs: 1 })
  await expect(failure).rejects.toMatchObject({
    code: 'weights_corrupt',
    message: expect.stringContaining(known.sha256),
  })
  expect(readdirSync(path.dirname(file))).toEqual([])
})

it.each([404, 503])('an address that answers %i is named, with what to do', async (status) => {
  const file = target()
  const { baseUrl } = await serve((_, response) => void response.writeHead(status).end())
  await expect(downloadWeights(known, file, { baseUrl, retryDelayMs: 1 })).rejects.toMatchObject({
    code: 'weights_missing',
    message: expect.stringMatching(new RegExp(`${baseUrl}network\\.pth cannot be downloaded: .*${status}`)),
    suggestions: [expect.stringContaining('--weights FOLDER'), expect.stringContaining('VTP_WEIGHTS_URL')],
  })
  expect(existsSync(file)).toBe(false)
})

it('without a network the public address is named at once', async () => {
  await expect(downloadWeights(known, target(), {})).rejects.toMatchObject({
    code: 'weights_missing',
    message: expect.stringContaining('http://public.invalid/network.pth cannot be downloaded'),
  })
})
