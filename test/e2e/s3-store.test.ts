/** Object storage keeps every promise of a store, on a real server. */
import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openStore } from '../../src/io/open-store.js'
import { honoursConditions } from '../../src/io/probe.js'
import { closeS3 } from '../../src/io/s3/client.js'
import { listUploads } from '../../src/io/s3/objects.js'
import type { Store } from '../../src/io/store.js'
import { startFaultProxy } from '../support/fault-proxy.js'
import { BUILD_TIMEOUT_MS, type Gateway, startGateway, withEnv } from '../support/s3-gateway.js'
import { describeStore } from '../support/store-conformance.js'

let gateway: Gateway
let before: NodeJS.ProcessEnv
let count = 0
beforeAll(async () => {
  gateway = await startGateway()
  before = { ...process.env }
  Object.assign(process.env, gateway.env)
}, BUILD_TIMEOUT_MS)
afterAll(async () => {
  await closeS3()
  process.env = before
  await gateway.close()
})

describeStore('a prefix of a bucket', () => openStore(`s3://bucket/store ${count++}/x`))

describe('large objects', () => {
  let store: Store
  const dir = mkdtempSync(path.join(tmpdir(), 'vtp-large-'))
  afterAll(() => rmSync(dir, { recursive: true, force: true }))
  beforeAll(async () => {
    store = await openStore('s3://bucket/large')
  })

  it('travel in parts, and of racing writers exactly one wins', async () => {
    const contents = Array.from({ length: 4 }, () => randomBytes(18 * 2 ** 20))
    const files = contents.map((bytes, i) => {
      const file = path.join(dir, `file ${i}`)
      writeFileSync(file, bytes)
      return file
    })
    const won = await Promise.all(files.map((file) => store.putFile('big', file, { ifAbsent: true, keep: true })))
    expect(won.filter(Boolean)).toHaveLength(1)
    const winner = contents[won.indexOf(true)]!
    expect(await store.sha256('big')).toBe(createHash('sha256').update(winner).digest('hex'))
    expect(Buffer.from(await store.get('big', { offset: 17 * 2 ** 20, size: 100 }))).toEqual(
      winner.subarray(17 * 2 ** 20, 17 * 2 ** 20 + 100),
    )
    const unfinished: unknown[] = []
    for await (const upload of listUploads({ bucket: 'bucket', key: 'large/' })) unfinished.push(upload)
    expect(unfinished).toEqual([])
  })

  it('the server honours conditional writes', async () => {
    expect(await honoursConditions(store)).toBe(true)
  })
})

describe('what cannot work is said at once', () => {
  it.each<[string, { status: number; code: string }, object]>([
    ['wrong keys', { status: 403, code: 'SignatureDoesNotMatch' }, { code: 's3_bad_credentials' }],
    ['no permission', { status: 403, code: 'AccessDenied' }, { code: 's3_access_denied' }],
    ['another region', { status: 400, code: 'AuthorizationHeaderMalformed' }, { code: 's3_wrong_region' }],
    ['a service that is down', { status: 503, code: 'ServiceUnavailable' }, { code: 's3_unavailable', exitCode: 3 }],
  ])('%s', async (_, answer, expected) => {
    const proxy = await startFaultProxy({ port: gateway.port, answer: () => answer })
    try {
      await withEnv({ AWS_ENDPOINT_URL: proxy.endpoint, AWS_MAX_ATTEMPTS: '2' }, async () => {
        await closeS3()
        const store = await openStore('s3://bucket/x')
        await expect(store.get('a')).rejects.toMatchObject(expected)
      })
    } finally {
      await proxy.close()
    }
  })

  it('a bucket that does not exist', async () => {
    const store = await openStore('s3://no-such-bucket/x')
    await expect(store.put('a', Buffer.from('x'))).rejects.toMatchObject({ code: 's3_no_bucket', exitCode: 2 })
  })

  it('credentials in an address, and addresses without a bucket', async () => {
    await expect(openStore('s3://AKID:SECRET@bucket/x')).rejects.toMatchObject({ code: 'bad_s3_uri' })
    await expect(openStore('s3://AKID:SECRET@bucket/x')).rejects.not.toThrow(/SECRET/)
    await expect(openStore('s3:///x')).rejects.toMatchObject({ code: 'bad_s3_uri' })
  })
})
