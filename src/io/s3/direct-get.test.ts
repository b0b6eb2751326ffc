import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { BUILD_TIMEOUT_MS, clientEnv, type Gateway, startGateway, withEnv } from '../../../test/support/s3-gateway.js'
import { checksumOf } from './checksums.js'
import { getObject, headObject, putObject } from './objects.js'

let gateway: Gateway
beforeAll(async () => {
  gateway = await startGateway()
}, BUILD_TIMEOUT_MS)
afterAll(() => gateway.close())

/** A server of objects that notes who asked for what. */
async function startServer(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const agents: string[] = []
  const server = createServer((request, response) => {
    agents.push(/^vtp/.test(request.headers['user-agent'] ?? '') ? 'direct' : 'sdk')
    answer(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  return { agents, env: clientEnv(`http://127.0.0.1:${(server.address() as AddressInfo).port}`) }
}

it('reads any key, its ranges and versions, the same the first time and later', async () => {
  const keys = [
    'a/plain.jpg',
    'with space+plus.jpg',
    "quo'te!(1)*.jpg",
    'ünï/日本.png',
    'per%20cent',
    'q?a=b&c#d',
    'x/~._-',
  ]
  await withEnv(gateway.env, async () => {
    for (const key of keys) await putObject({ bucket: 'bucket', key }, Buffer.from(`bytes of ${key}`))
    for (const key of [...keys, ...keys]) {
      const place = { bucket: 'bucket', key }
      const { bytes, etag } = await getObject(place)
      expect(bytes.toString()).toBe(`bytes of ${key}`)
      expect(etag).toBe((await headObject(place))!.etag)
      expect((await getObject(place, { range: { offset: 6, size: 2 }, etag })).bytes.toString()).toBe('of')
      expect((await getObject(place, { range: { offset: 10_000, size: 2 } })).bytes).toHaveLength(0)
      await expect(getObject(place, { etag: '"other"' })).rejects.toMatchObject({ code: 's3_changed' })
      await expect(getObject(place, { maxBytes: 3 })).rejects.toMatchObject({ code: 'too_many_bytes' })
    }
    await expect(getObject({ bucket: 'bucket', key: 'none' })).rejects.toMatchObject({ code: 'not_found' })
    await expect(getObject({ bucket: 'other', key: 'none' })).rejects.toMatchObject({ code: 's3_no_bucket' })
  })
})

it('wrong secrets and expired ones are told as the SDK tells them', async () => {
  const key = 'secret.jpg'
  await withEnv(gateway.env, async () => {
    await putObject({ bucket: 'bucket', key }, Buffer.from('1'))
    await getObject({ bucket: 'bucket', key })
  })
  await withEnv({ ...gateway.env, AWS_SECRET_ACCESS_KEY: 'wrong' }, async () => {
    for (let i = 0; i < 2; i++)
      await expect(getObject({ bucket: 'bucket', key })).rejects.toMatchObject({ code: 's3_bad_credentials' })
  })
})

it.each(['crc32', 'crc32c', 'crc64nvme', 'sha256'])(
  'a body that its %s does not fit is read again',
  async (algorithm) => {
    const good = Buffer.from('the bytes')
    let reads = 0
    const { agents, env } = await startServer((_, response) => {
      reads++
      response.setHeader(`x-amz-checksum-${algorithm}`, checksumOf(algorithm, good)!)
      response.end(reads === 2 ? 'the bites' : good)
    })
    await withEnv(env, async () => {
      for (let i = 0; i < 2; i++) expect((await getObject({ bucket: 'bucket', key: 'k' })).bytes).toEqual(good)
    })
    expect(agents).toEqual(['sdk', 'direct', 'direct'])
  },
)

it('a bucket that has moved is left to the SDK, which follows', async () => {
  let reads = 0
  const { agents, env } = await startServer((_, response) => {
    reads++
    if (reads === 2) response.writeHead(307, { location: '/bucket/k' })
    response.end('here')
  })
  await withEnv(env, async () => {
    for (let i = 0; i < 3; i++) expect((await getObject({ bucket: 'bucket', key: 'k' })).bytes.toString()).toBe('here')
  })
  expect(agents).toEqual(['sdk', 'direct', 'sdk', 'sdk'])
})

it('an answer that is cut off, and a service that asks for patience, are tried again', async () => {
  let reads = 0
  const { env } = await startServer((_, response) => {
    reads++
    if (reads === 2) {
      response.writeHead(200, { 'content-length': 8 })
      response.write('half')
      setImmediate(() => response.destroy())
    } else if (reads === 3) {
      response.writeHead(503)
      response.end('<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>')
    } else response.end('all of it')
  })
  await withEnv(env, async () => {
    for (let i = 0; i < 2; i++)
      expect((await getObject({ bucket: 'bucket', key: 'k' })).bytes.toString()).toBe('all of it')
  })
  expect(reads).toBe(4)
})
