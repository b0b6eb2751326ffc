/** `vtp serve`: its API, and what it does with requests that mean it harm. */
import { appendFileSync, copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { get as httpGet, request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { repoRoot, runCli } from '../support/cli.js'
import { buildIndexOf, type RunningServer, startServe } from '../support/search-server.js'

const SECRET = 'vtp-secret-that-nobody-indexed'
const dir = mkdtempSync(path.join(tmpdir(), 'vtp serve '))
const photos = path.join(dir, 'photos')
const cat = path.join(photos, 'people and animals', 'chelsea the cat.png')
let server: RunningServer
let rows: number

beforeAll(async () => {
  cpSync(path.join(repoRoot, 'fixtures', 'images'), photos, { recursive: true })
  copyFileSync(cat, path.join(photos, 'things', 'copy of the cat.png'))
  const index = await buildIndexOf(photos, dir)
  writeFileSync(path.join(dir, 'secret.txt'), SECRET)
  writeFileSync(path.join(dir, 'secret.jpg'), `\xff\xd8\xff${SECRET}`, 'latin1')
  server = await startServe(index)
  rows = ((await (await fetch(new URL('api/info', server.url))).json()) as { rows: number }).rows
}, 120_000)
afterAll(async () => {
  await server?.stop()
  rmSync(dir, { recursive: true, force: true })
})

interface Answer {
  results: { row: number; key: string; score: number; missing: boolean; className: string | null }[]
  more: boolean
  latency: { count: number; p50: number; p95: number }
}

async function get(address: string): Promise<{ status: number; body: Answer & { error?: { code: string } } }> {
  const response = await fetch(new URL(address, server.url))
  return { status: response.status, body: (await response.json()) as Answer }
}

/** A request with exactly this path and these headers, which fetch would tidy up. */
function raw(
  method: string,
  target: string,
  headers: Record<string, string> = {},
  body?: Buffer | string,
): Promise<{ status: number; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(server.url)
    const request = httpRequest({ hostname, port, method, path: target, headers, timeout: 20_000 }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => resolve({ status: response.statusCode!, body: Buffer.concat(chunks) }))
      response.on('error', reject)
    })
    request.on('error', reject)
    request.end(body)
  })
}

describe('the API', () => {
  it('searches by text, by uploaded image and by row, in pages', async () => {
    const text = await get('api/search?q=a+cat&k=5')
    expect(text.body.results.length).toBe(5)
    expect(text.body.more).toBe(true)
    const next = await get('api/search?q=a+cat&k=5&offset=5')
    expect(new Set([...text.body.results, ...next.body.results].map((hit) => hit.row)).size).toBe(10)

    const upload = await fetch(new URL('api/upload', server.url), { method: 'POST', body: readFileSync(cat) })
    const { image } = (await upload.json()) as { image: string }
    const [byImage] = (await get(`api/search?image=${image}`)).body.results
    expect(byImage).toMatchObject({ key: 'people and animals/chelsea the cat.png', className: 'people and animals' })
    const [byRow] = (await get(`api/search?row=${byImage!.row}`)).body.results
    expect(byRow!.row).toBe(byImage!.row)
    const response = await fetch(new URL('api/search', server.url), {
      method: 'POST',
      body: JSON.stringify({ q: 'a cat', image, weights: '0.3,1', label: 'things', k: 3 }),
    })
    const filtered = (await response.json()) as Answer
    expect(filtered.results.map((hit) => hit.className)).toEqual(['things', 'things', 'things'])
    const other = readFileSync(path.join(photos, 'things', 'coffee.webp'))
    const second = await fetch(new URL('api/upload', server.url), { method: 'POST', body: other })
    expect(((await second.json()) as { image: string }).image).not.toBe(image)
    expect(filtered.latency.p95).toBeGreaterThanOrEqual(filtered.latency.p50)
  })

  it('shows a sample of the index, hides near-duplicates, and gives results as a table', async () => {
    const sample = (await get('api/sample?k=200')).body.results
    expect(sample.map((hit) => hit.row).sort((a, b) => a - b)).toEqual([...Array(rows).keys()])
    expect((await get('api/sample?k=5')).body.results).toEqual(sample.slice(0, 5))
    const isCat = ({ key }: { key: string }): boolean => /cat\.png$/.test(key)
    for (const address of ['api/sample?k=50', 'api/search?q=a+cat&k=50']) {
      const all = (await get(address)).body.results
      const single = (await get(`${address}&dedup=1`)).body.results
      expect([all.filter(isCat).length, single.filter(isCat).length]).toEqual([2, 1])
      // In pages they are the same.
      const pages = [0, 4, 8].map((offset) => get(`${address}&dedup=1`.replace('k=50', `k=4&offset=${offset}`)))
      const paged = (await Promise.all(pages)).flatMap(({ body }) => body.results)
      expect(paged.map((hit) => hit.row)).toEqual(single.slice(0, 12).map((hit) => hit.row))
    }
    const table = await fetch(new URL('api/results.csv?q=a+cat&dedup=1&k=2', server.url))
    expect(table.headers.get('content-disposition')).toMatch(/attachment; filename="results.csv"/)
    const [header, ...lines] = (await table.text()).trimEnd().split('\r\n')
    expect(header).toMatch(/rank,score,key,uri,/)
    expect(lines).toHaveLength(2)
  })

  it('gives originals as they lie there, and nothing that is not an image any more', async () => {
    const { results } = (await get('api/search?q=a+cat&k=50')).body
    const copy = results.find((hit) => hit.key.endsWith('copy of the cat.png'))!
    const address = new URL(`api/originals/${copy.row}`, server.url)
    const original = await fetch(address)
    expect(original.headers.get('content-type')).toBe('image/png')
    expect(original.headers.get('content-disposition')).toContain("inline; filename*=UTF-8''copy%20of%20the%20cat.png")
    expect(Buffer.from(await original.arrayBuffer()).equals(readFileSync(cat))).toBe(true)
    const file = path.join(photos, 'things', 'copy of the cat.png')
    writeFileSync(file, `<script>${SECRET}</script>`)
    try {
      const changed = await fetch(address)
      expect([changed.status, (await changed.text()).includes(SECRET)]).toEqual([422, false])
    } finally {
      copyFileSync(cat, file)
    }
    expect((await fetch(new URL('api/originals/9999', server.url))).status).toBe(404)
  })

  it('takes what a form leaves empty as not given', async () => {
    const plain = (await get('api/search?q=a+cat&k=3')).body.results
    const blank = (await get('api/search?q=a+cat&k=3&row=&image=&weights=&label=&minWidth=')).body.results
    expect(blank).toEqual(plain)
    const body = JSON.stringify({ q: 'a cat', k: 3, row: null, image: null, weights: null })
    const nulls = await fetch(new URL('api/search', server.url), { method: 'POST', body })
    expect(((await nulls.json()) as Answer).results).toEqual(plain)
    const none = await get('api/search?row=&image=')
    expect([none.status, none.body.error!.code]).toEqual([400, 'no_query'])
    expect((await get('api/search?row=1.5')).status).toBe(400)
  })

  it('gives thumbnails of indexed images, with headers that keep other sites out', async () => {
    for (let row = 0; row < rows; row++) {
      const response = await fetch(new URL(`api/thumbnails/${row}`, server.url))
      expect(response.status).toBe(200)
      expect(response.headers.get('content-type')).toBe('image/webp')
      expect(Buffer.from(await response.arrayBuffer()).toString('latin1', 8, 12)).toBe('WEBP')
    }
    const page = await fetch(server.url)
    const policy = page.headers.get('content-security-policy')!
    expect(policy).toMatch(/default-src 'none'/)
    expect(policy).not.toMatch(/unsafe|\*|https?:/)
    expect(page.headers.get('x-content-type-options')).toBe('nosniff')
    const tag = (await fetch(new URL('api/thumbnails/0', server.url))).headers.get('etag')!
    const cached = await fetch(new URL('api/thumbnails/0', server.url), { headers: { 'If-None-Match': tag } })
    expect(cached.status).toBe(304)
  })

  it('marks images that are gone, and never shows what has taken their place', async () => {
    const { results } = (await get('api/search?q=a+cat&k=50')).body
    const { row } = results.find((hit) => hit.key.endsWith('chelsea the cat.png'))!
    const kept = path.join(dir, 'kept.png')
    copyFileSync(cat, kept)
    try {
      rmSync(cat)
      const after = (await get('api/search?q=a+cat&k=50')).body.results
      expect(after.filter((hit) => hit.missing).map((hit) => hit.row)).toEqual([row])
      expect((await get(`api/thumbnails/${row}?size=1024`)).status).toBe(404)
      copyFileSync(path.join(dir, 'secret.txt'), cat)
      const replaced = await get(`api/thumbnails/${row}?size=1024`)
      expect([replaced.status, replaced.body.error!.code]).toEqual([422, 'no_image'])
    } finally {
      copyFileSync(kept, cat)
    }
  })
})

describe('hostile requests', () => {
  it.each([
    ['an image of another site', 'api/thumbnails/0', 'cross-site', 'no-cors', 403],
    ['a script of another port', 'api/info', 'same-site', 'cors', 403],
    ['a link of another site to an answer', 'api/info', 'cross-site', 'navigate', 403],
    ['a link of another site to the page', '', 'cross-site', 'navigate', 200],
    ['the page itself', 'api/info', 'same-origin', 'cors', 200],
    ['an address that was typed', '', 'none', 'navigate', 200],
  ])('%s gets what it may have', async (_, address, site, mode, status) => {
    const headers = { 'Sec-Fetch-Site': site, 'Sec-Fetch-Mode': mode }
    const got = await new Promise((resolve, reject) => {
      httpGet(new URL(address, server.url), { headers }, (response) => {
        response.resume()
        resolve(response.statusCode)
      }).on('error', reject)
    })
    expect(got).toBe(status)
  })

  const traversals = [
    '/../secret.txt',
    '/..%2fsecret.txt',
    '/%2e%2e/%2e%2e/etc/passwd',
    '/....//etc/passwd',
    '//etc/passwd',
    '/web/../../secret.txt',
    '/app.js/../../secret.txt',
    '/api/thumbnails/../../secret.jpg',
    '/api/thumbnails/..%2f..%2fsecret.jpg',
    '/api/thumbnails/0/../../../etc/passwd',
    '/api/thumbnails/%00',
    '/api/rows/-1',
    '/api/rows/1e3',
    '/api/rows/999999999999',
    '/api/thumbnails/0x1',
    '/__proto__',
    '/constructor',
    '/api/search?q=%ff%fe',
    '/api/search?row=../secret.jpg',
    '/api/search?image=../../secret.jpg&q=a',
    '/%',
    '/\\..\\secret.txt',
    'http://evil.example/api/info',
    '/api/search?q=a&file=/etc/passwd',
    '*',
    '/api/search?q=a&k=100000',
    '/api/search?q=a&offset=-5',
    '/api/search?q=a&weights=1e309',
    '/api/search?__proto__=1&q=a',
  ]

  /** Seeded bytes. */
  function noise(seed: number, length: number): Buffer {
    const out = Buffer.alloc(length)
    let state = seed * 2654435761
    for (let i = 0; i < length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0
      out[i] = state >>> 24
    }
    return out
  }

  async function hostile(i: number): Promise<{ status: number; body: Buffer } | undefined> {
    const kind = i % 10
    const bytes = noise(i, 200 + (i % 3000))
    switch (kind) {
      case 0:
      case 1:
        return raw('GET', traversals[(i * 7 + kind) % traversals.length]!)
      case 2:
        return raw(
          'POST',
          '/api/search',
          {},
          [
            '{',
            '[]',
            'null',
            '{"q":{"$gt":""}}',
            '{"__proto__":{"q":"a"}}',
            '[[[[',
            '"a"',
            '{"q":["a"]}',
            bytes.toString('latin1'),
          ][i % 9],
        )
      case 3: {
        // A picture that is cut off, or with damaged bytes, or none at all.
        const image = readFileSync(cat)
        const damaged = Buffer.concat([image.subarray(0, 100 + ((i * 37) % 5000)), bytes])
        return raw('POST', '/api/upload', {}, i % 3 === 0 ? bytes : damaged)
      }
      case 4:
        return raw(
          ['PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE'][((i / 10) % 5) | 0]!,
          ['/', '/api/search', '/api/thumbnails/0'][i % 3]!,
        )
      case 5:
        return raw('GET', '/api/info', {
          Host: ['evil.example', '127.0.0.1.evil.example', 'localhost@evil', 'evil.example:80'][i % 4]!,
        })
      case 6:
        return raw('POST', '/api/upload', { Origin: 'https://evil.example' }, bytes)
      case 7:
        return raw('GET', `/api/search?q=${encodeURIComponent(bytes.toString('latin1').slice(0, 900))}&k=3`)
      case 8:
        return raw('GET', `/${'a'.repeat(i * 20)}?${'b=c&'.repeat(i % 500)}`)
      default:
        await garbage(bytes)
        return undefined
    }
  }

  /** Bytes that are no HTTP at all, or half of a request. */
  function garbage(bytes: Buffer): Promise<void> {
    return new Promise((resolve) => {
      const { hostname, port } = new URL(server.url)
      const socket = connect(Number(port), hostname, () => {
        socket.write(
          bytes[0]! % 2 ? bytes : `POST /api/upload HTTP/1.1\r\nHost: ${hostname}\r\nContent-Length: 5000\r\n\r\nabc`,
        )
        setTimeout(() => socket.destroy(), 5)
      })
      socket.on('error', () => {})
      socket.on('close', () => resolve())
    })
  }

  it('by the thousand: no crash, no success that it should not have, no byte of a file that is not indexed', async () => {
    const statuses = new Map<number, number>()
    for (let start = 0; start < 1000; start += 25) {
      const answers = await Promise.all(
        Array.from({ length: 25 }, (_, i) =>
          hostile(start + i).catch((error: Error) => expect.unreachable(error.message)),
        ),
      )
      for (const [i, answer] of answers.entries()) {
        if (!answer) continue
        statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1)
        const text = answer.body.toString('latin1')
        expect(text).not.toContain(SECRET)
        expect(text).not.toMatch(/root:.*:0:0:/)
        const kind = (start + i) % 10
        // Only a search for noise, and the page itself, may succeed.
        if (answer.status === 200) expect([0, 1, 3, 7], `${start + i}: ${text.slice(0, 80)}`).toContain(kind)
      }
    }
    expect([...statuses.keys()].filter((status) => status >= 500)).toEqual([])
    expect(server.child.exitCode).toBeNull()
    expect(server.log()).not.toMatch(/ {4}at /)
    expect((await get('api/search?q=a+cat')).status).toBe(200)
  }, 120_000)

  it('with huge bodies are cut off', async () => {
    const huge = Buffer.alloc(21 * 2 ** 20)
    const told = await raw('POST', '/api/upload', { 'Content-Length': String(huge.length) }).catch(() => undefined)
    expect(told?.status ?? 413).toBe(413)
    // Without a length the server stops reading when it has had enough.
    const streamed = await raw('POST', '/api/upload', { 'Transfer-Encoding': 'chunked' }, huge).catch(() => undefined)
    expect(streamed?.status ?? 413).toBe(413)
    const json = await raw('POST', '/api/search', {}, `{"q":"${'a'.repeat(100_000)}"}`).catch(() => undefined)
    expect(json?.status ?? 413).toBe(413)
    expect((await get('api/info')).status).toBe(200)
  })
})

it('ends with Ctrl-C, and says when its port is taken', async () => {
  const port = new URL(server.url).port
  const taken = await runCli(['serve', path.join(dir, 'hnsw.index'), '--port', port])
  expect([taken.code, taken.stderr]).toEqual([2, expect.stringMatching(/is taken[\s\S]*Try: /)])
  appendFileSync(path.join(dir, 'hnsw.index', 'index.json'), 'garbage')
  expect((await get('api/info')).status).toBe(200)
  expect(await server.stop()).toBe(0)
})
