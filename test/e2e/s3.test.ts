/** Buckets in and out, as users run it, on a real server and on one that misbehaves. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type CliResult, repoRoot, runCli, tempDir } from '../support/cli.js'
import { type FaultProxy, type FaultProxyOptions, startFaultProxy } from '../support/fault-proxy.js'
import { place } from '../support/images.js'
import { outputHashes, readRejects, readRows } from '../support/parts.js'
import { ACCESS_KEY, BUILD_TIMEOUT_MS, type Gateway, SECRET_KEY, startGateway, withEnv } from '../support/s3-gateway.js'
import { startS3rver } from '../support/s3rver.js'
import { QUICK_FLAGS, writeSmallPictures } from '../support/small-images.js'

const scratch = mkdtempSync(path.join(tmpdir(), 'vtp s3 '))
let gateway: Gateway
let bucket: string
let proxy: FaultProxy | undefined
beforeAll(async () => {
  gateway = await startGateway()
  bucket = path.join(gateway.folder, 'bucket')
  await writeSmallPictures(path.join(bucket, 'images'), 60)
}, BUILD_TIMEOUT_MS)
afterEach(async () => {
  await proxy?.close()
  proxy = undefined
})
afterAll(async () => {
  await gateway.close()
  rmSync(scratch, { recursive: true, force: true })
})

const encode = (source: string, out: string, ...more: string[]): string[] => [
  'encode',
  source,
  '--out',
  out,
  '--shard-rows',
  '20',
  ...QUICK_FLAGS,
  ...more,
]
const run = (args: string[], env: Record<string, string> = {}): Promise<CliResult> =>
  runCli(args, { env: { ...gateway.env, ...env } })
async function throughProxy(options: Omit<FaultProxyOptions, 'port'>): Promise<Record<string, string>> {
  proxy = await startFaultProxy({ port: gateway.port, ...options })
  return { AWS_ENDPOINT_URL: proxy.endpoint }
}

describe('sources in a bucket', () => {
  it('a prefix has the keys, labels, order and latents of the same folder on a disk, and a model may come from a bucket', async () => {
    for (const name of ['config.json', 'model.safetensors'])
      place(path.join(repoRoot, 'models', 'vtp-nano', name), path.join(bucket, 'models', 'nano', name))
    const remote = await run(
      encode('s3://bucket/images', 's3://bucket/prefix out', '--model', 's3://bucket/models/nano/', '--json'),
    )
    expect(remote.stderr + remote.code).toMatch(/0$/)
    expect(JSON.parse(remote.stdout)).toMatchObject({ images: 60, units: 3, out: 's3://bucket/prefix out' })
    const local = path.join(scratch, 'local')
    expect((await run(encode(path.join(bucket, 'images'), local))).code).toBe(0)
    const [a, b] = [await readRows(path.join(bucket, 'prefix out')), await readRows(local)]
    expect(a.map(({ key, label }) => [key, label])).toEqual(b.map(({ key, label }) => [key, label]))
    expect(a[0]!.uri).toBe('s3://bucket/images/class 0/00000.jpg')
    const statistics = (dest: string): unknown =>
      JSON.parse(readFileSync(path.join(dest, '_manifest.json'), 'utf8')).statistics
    expect(statistics(path.join(bucket, 'prefix out'))).toEqual(statistics(local))
    const stats = await run(['stats', 's3://bucket/prefix out', '--from-shards', '--json'])
    expect(JSON.parse(stats.stdout)).toMatchObject({ rows: 60, fromCommits: false })
    const pictures = path.join(tempDir(), 'pictures')
    const decoded = await run([
      'decode',
      's3://bucket/prefix out/part-00002.arrow',
      '--out',
      pictures,
      '--limit',
      '2',
      '--json',
    ])
    expect(JSON.parse(decoded.stdout)).toMatchObject({ images: 2 })
  })

  it('tar shards, Parquet files and lists are read by ranges', async () => {
    const files = (readdirSync(path.join(bucket, 'images'), { recursive: true }) as string[])
      .filter((name) => name.endsWith('.jpg'))
      .sort()
      .slice(0, 9)
    const bytes = files.map((name) => readFileSync(path.join(bucket, 'images', name)))
    const { pack } = await import('tar-stream')
    for (const half of [0, 1]) {
      const tar = pack()
      bytes.forEach((data, i) => {
        if (i % 2 === half) tar.entry({ name: `${i}.jpg` }, data)
        if (i % 2 === half) tar.entry({ name: `${i}.cls` }, String(i))
      })
      tar.finalize()
      const chunks: Buffer[] = []
      for await (const chunk of tar as AsyncIterable<Buffer>) chunks.push(chunk)
      place(path.join(bucket, 'images', files[0]!), path.join(bucket, 'other', 'x'))
      writeFileSync(path.join(bucket, 'other', `s-${half}.tar`), Buffer.concat(chunks))
    }
    const { parquetWriteBuffer } = await import('hyparquet-writer')
    const image = { name: 'image', data: bytes.map((data) => new Uint8Array(data)), type: 'BYTE_ARRAY' as const }
    writeFileSync(path.join(bucket, 'other', 'p.parquet'), Buffer.from(parquetWriteBuffer({ columnData: [image] })))
    writeFileSync(path.join(bucket, 'other', 'list.txt'), files.map((name) => `../images/${name}\n`).join(''))
    const lines = files.map((name, label) => JSON.stringify({ uri: `s3://bucket/images/${name}`, label }))
    writeFileSync(path.join(scratch, 'list.jsonl'), `${lines.join('\n')}\n{"uri":"s3://bucket/none.jpg"}\n`)

    const latents = async (source: string, name: string, bad: number): Promise<string[]> => {
      const out = path.join(scratch, name)
      const result = await run(encode(source, out, '--outputs', 'pixels', '--max-bad', '20%', '--json'))
      expect(result.code, result.stderr).toBe(0)
      expect(readRejects(out).map((reject) => reject.code)).toEqual(Array(bad).fill('not_found'))
      return (await readRows(out)).map((row) => `${row.key} ${row.label}`)
    }
    const [tar, glob, parquet, txt, jsonl] = await Promise.all([
      latents('s3://bucket/other/s-{0..1}.tar', 'tar', 0),
      latents('s3://bucket/other/*.tar', 'glob', 0),
      latents('s3://bucket/other/p.parquet', 'parquet', 0),
      latents('s3://bucket/other/list.txt', 'txt', 0),
      latents(path.join(scratch, 'list.jsonl'), 'jsonl', 1),
    ])
    expect(tar).toEqual([0, 2, 4, 6, 8, 1, 3, 5, 7].map((i) => `s-${i % 2}.tar/${i} ${i}`))
    expect(glob).toEqual(tar)
    expect(parquet).toHaveLength(9)
    expect(txt).toHaveLength(9)
    expect(jsonl).toEqual(files.map((name, i) => `s3://bucket/images/${name} ${i}`))
  })

  it('an object that vanished or changed since planning is a reject, and --retry-rejects runs only what failed', async () => {
    await writeSmallPictures(path.join(bucket, 'moving'), 30)
    const { putObject } = await import('../../src/io/s3/objects.js')
    const put = (key: string, bytes: Buffer): Promise<boolean> =>
      withEnv(gateway.env, () => putObject({ bucket: 'bucket', key }, bytes))
    const changing = readFileSync(path.join(bucket, 'moving', 'class 1', '00005.jpg'))
    const vanishing = readFileSync(path.join(bucket, 'moving', 'class 0', '00000.jpg'))
    await put('moving/class 1/00005.jpg', changing)
    await put('moving/class 0/00000.jpg', vanishing)
    const out = 's3://bucket/moving-out'
    expect(
      (await run(['plan', 's3://bucket/moving', '--out', out, '--shard-rows', '20', ...QUICK_FLAGS.slice(0, 4)])).code,
    ).toBe(0)
    rmSync(path.join(bucket, 'moving', 'class 0', '00000.jpg'))
    await put('moving/class 1/00005.jpg', Buffer.from('another image'))
    const first = await run(encode('s3://bucket/moving', out, '--max-bad', '50%'))
    expect(first.code, first.stderr).toBe(0)
    expect(readRejects(path.join(bucket, 'moving-out')).map((r) => [r.key, r.code])).toEqual([
      ['class 0/00000.jpg', 'not_found'],
      ['class 1/00005.jpg', 'changed'],
    ])
    await put('moving/class 0/00000.jpg', vanishing)
    await put('moving/class 1/00005.jpg', changing)
    const log = path.join(tempDir(), 'run.jsonl')
    const retry = await run(encode('s3://bucket/moving', out, '--retry-rejects', '--log', log))
    expect(retry.stderr).toMatch(/2 rejected images were tried again in 1 unit: 2 became rows/)
    expect(retry.code).toBe(0)
    // The bytes are those of a run in which nothing ever failed.
    const whole = path.join(scratch, 'moving')
    expect((await run(encode('s3://bucket/moving', whole))).code).toBe(0)
    expect(outputHashes(path.join(bucket, 'moving-out'))).toEqual(outputHashes(whole))
    expect((await run(['verify', out])).code).toBe(0)
    const events = readFileSync(log, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line).event)
    expect(events).toEqual(['run_started', 'run_ended'])
  })
})

describe('storage that fails', () => {
  it('5 % of all requests fail in every way there is: the same bytes', async () => {
    const env = await throughProxy({ rate: 0.05, seed: 3 })
    const result = await run(encode('s3://bucket/images', 's3://bucket/faulty'), env)
    expect(result.stderr + result.code).toMatch(/0$/)
    expect(Object.keys(proxy!.done).length).toBeGreaterThan(2)
    const whole = path.join(scratch, 'fault free')
    expect((await run(encode('s3://bucket/images', whole))).code).toBe(0)
    expect(outputHashes(path.join(bucket, 'faulty'))).toEqual(outputHashes(whole))
  })

  it.each<[string, NonNullable<FaultProxyOptions['answer']>, RegExp, number]>([
    [
      'credentials that expire in mid-run',
      (_, count) => (count > 40 ? { status: 400, code: 'ExpiredToken' } : undefined),
      /credentials have expired[\s\S]*Try: renew them, then run the same command again/,
      3,
    ],
    [
      'a clock that is wrong',
      () => ({ status: 403, code: 'RequestTimeTooSkewed', headers: { date: 'Fri, 01 Jan 2027 00:00:00 GMT' } }),
      /clock of this machine is wrong[\s\S]*01 Jan 2027[\s\S]*Try: set the clock/,
      3,
    ],
  ])('%s: a clear message, and the next run continues', async (name, answer, message, code) => {
    const env = { ...(await throughProxy({ answer })), AWS_MAX_ATTEMPTS: '3' }
    const out = `s3://bucket/broken ${name}`
    const result = await run(encode('s3://bucket/images', out), env)
    expect(result.stderr).toMatch(message)
    expect(result.stderr).not.toMatch(/\n\s+at /)
    expect(result.code).toBe(code)
    if (!name.includes('mid-run')) return
    const next = await run(encode('s3://bucket/images', out, '--json'))
    expect(JSON.parse(next.stdout)).toMatchObject({ images: 60, rejects: 0 })
  })

  it('a bucket that does not exist, no credentials, and no server are told before anything is done', async () => {
    const missing = await run(encode('s3://no-such-bucket/x', path.join(scratch, 'none')))
    expect(missing.stderr).toMatch(/bucket does not exist/)
    expect(missing.code).toBe(2)
    const none = {
      AWS_ACCESS_KEY_ID: '',
      AWS_SECRET_ACCESS_KEY: '',
      AWS_SHARED_CREDENTIALS_FILE: '/none',
      HOME: tempDir(),
    }
    const anonymous = await run(encode('s3://bucket/images', path.join(scratch, 'none')), none)
    expect(anonymous.stderr).toMatch(/no credentials were found[\s\S]*AWS_NO_SIGN_REQUEST/)
    expect(anonymous.code).toBe(2)
    const down = await run(encode('s3://bucket/images', path.join(scratch, 'none')), {
      AWS_ENDPOINT_URL: 'http://127.0.0.1:9',
    })
    expect(down.stderr).toMatch(/AWS_ENDPOINT_URL/)
    expect(down.code).toBe(3)
  })

  it(
    'a store that ignores conditional writes is refused for several workers, and takes one',
    async () => {
      const server = await startS3rver('plain')
      try {
        const args = encode(path.join(bucket, 'images'), 's3://plain/out')
        const refused = await runCli([...args, '--worker-index', '0', '--worker-count', '2'], { env: server.env })
        expect(refused.stderr).toMatch(/ignores conditional writes[\s\S]*Try: use one worker only/)
        expect(refused.code).toBe(2)
        const alone = await runCli([...args, '--json'], { env: server.env })
        expect(JSON.parse(alone.stdout)).toMatchObject({ images: 60, complete: true })
      } finally {
        await server.close()
      }
    },
    BUILD_TIMEOUT_MS,
  )
})

describe('addresses on the web', () => {
  let server: Server
  let base: string
  beforeAll(async () => {
    server = createServer((request, response) => {
      const name = decodeURIComponent(new URL(request.url!, 'http://x').pathname)
      if (name === '/redirect') return void response.writeHead(302, { location: '/class 2/00002.jpg' }).end()
      try {
        response.end(readFileSync(path.join(bucket, 'images', name)))
      } catch {
        response.writeHead(404).end()
      }
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  afterAll(() => void server.close())

  it('no credential, signature or password is in anything that a run leaves or says', async () => {
    const secrets = [
      's1gnatureOfTheUrl',
      'AKIDINTHEQUERY',
      'passw0rdInTheUrl',
      'tokentokentoken',
      ACCESS_KEY,
      SECRET_KEY,
    ]
    const lines = [
      `${base}/class%200/00000.jpg?X-Amz-Credential=AKIDINTHEQUERY%2F2026&X-Amz-Signature=s1gnatureOfTheUrl&size=5`,
      `${base.replace('//', '//user:passw0rdInTheUrl@')}/class%201/00001.jpg`,
      `${base}/gone.jpg?token=tokentokentoken`,
      `${base}/redirect?sig=s1gnatureOfTheUrl`,
      's3://AKIDINTHEQUERY:passw0rdInTheUrl@bucket/images/x.jpg',
      `${base}/class%203/00003.jpg?page=2`,
    ]
    const dir = tempDir()
    const list = path.join(dir, 'list.txt')
    writeFileSync(list, lines.join('\n'))
    const [log, metrics] = [path.join(dir, 'log.jsonl'), path.join(dir, 'metrics.prom')]
    const out = 's3://bucket/web'
    const more = ['--allow-private-urls', '--max-bad', '50%', '--log', log, '--metrics', metrics]
    const result = await run(encode(list, out, ...more, '--json'))
    expect(JSON.parse(result.stdout)).toMatchObject({ images: 4, rejects: 2 })
    const rows = await readRows(path.join(bucket, 'web'))
    expect(rows[0]!.uri).toBe(`${base}/class%200/00000.jpg?X-Amz-Credential=…&X-Amz-Signature=…&size=5`)
    expect(rows[3]!.uri).toBe(`${base}/class%203/00003.jpg?page=2`)
    expect(readRejects(path.join(bucket, 'web')).map((r) => r.code)).toEqual(['not_found', 'bad_entry'])
    const direct = await run(encode(lines[0]!, path.join(dir, 'direct')))
    expect(direct.stderr).toMatch(/is not supported/)
    const status = await run(['status', out])
    const verify = await run(['verify', out])
    const texts = [
      direct.stderr,
      result.stderr,
      result.stdout,
      status.stdout,
      verify.stdout,
      readFileSync(log, 'utf8'),
      readFileSync(metrics, 'utf8'),
    ]
    for (const name of readdirSync(path.join(bucket, 'web'), { recursive: true }) as string[]) {
      texts.push(name)
      try {
        texts.push(readFileSync(path.join(bucket, 'web', name), 'latin1'))
      } catch {}
    }
    expect(texts.length).toBeGreaterThan(10)
    for (const secret of secrets) expect(texts.filter((text) => text.includes(secret))).toEqual([])
    expect(readFileSync(metrics, 'utf8')).toMatch(/vtp_rejects_total\{worker="0",code="not_found"\} 1/)
  })

  it('addresses of private networks are refused unless they are allowed', async () => {
    const dir = tempDir()
    const list = path.join(dir, 'list.txt')
    const names = ['127.0.0.1', 'localhost', '[::1]', '169.254.169.254', '[::ffff:10.0.0.1]', '0x7f.1']
    writeFileSync(list, names.map((host) => `http://${host}:9/x.jpg\n`).join(''))
    const result = await run(encode(list, path.join(dir, 'out'), '--max-bad', '100%'))
    expect(result.code).toBe(0)
    const rejects = readRejects(path.join(dir, 'out'))
    expect(rejects.map((r) => r.code)).toEqual(Array(6).fill('unreadable'))
    expect(rejects.map((r) => r.message).join('\n')).toMatch(/^(its address lies in a private network.*\n?){6}$/)
  })
})

describe('workers', () => {
  it('find their place by what their scheduler says, and tell where it comes from', async () => {
    const out = path.join(scratch, 'placed')
    const k8s = await run(encode(path.join(bucket, 'images'), out, '--worker-count', '3', '--no-help-others'), {
      JOB_COMPLETION_INDEX: '1',
    })
    expect(k8s.stderr).toMatch(/worker 1 of 3 \(Kubernetes Indexed Job\): 1 unit to do/)
    const slurm = {
      SLURM_ARRAY_TASK_ID: '7',
      SLURM_ARRAY_TASK_MIN: '5',
      SLURM_ARRAY_TASK_STEP: '1',
      SLURM_ARRAY_TASK_COUNT: '3',
    }
    const array = await run(encode(path.join(bucket, 'images'), out, '--no-help-others'), slurm)
    expect(array.stderr).toMatch(/worker 2 of 3 \(Slurm array\): 1 unit to do/)
    expect(readdirSync(path.join(out, '_vtp', 'commits'))).toEqual(['00001.json', '00002.json'])
    const clash = await run(encode(path.join(bucket, 'images'), out), { ...slurm, RANK: '0', WORLD_SIZE: '9' })
    expect(clash.stderr).toMatch(/disagree.*Slurm array: 2 of 3; torchrun: 0 of 9/)
    expect(clash.code).toBe(2)

    const others: [string, Record<string, string>][] = [
      ['Slurm tasks', { SLURM_PROCID: '1', SLURM_NTASKS: '3' }],
      ['AWS Batch array', { AWS_BATCH_JOB_ARRAY_INDEX: '1', AWS_BATCH_JOB_ARRAY_SIZE: '3' }],
      ['Google Cloud Batch', { BATCH_TASK_INDEX: '1', BATCH_TASK_COUNT: '3' }],
      ['Cloud Run job', { CLOUD_RUN_TASK_INDEX: '1', CLOUD_RUN_TASK_COUNT: '3' }],
      ['SkyPilot', { SKYPILOT_NODE_RANK: '1', SKYPILOT_NUM_NODES: '3' }],
      ['torchrun', { RANK: '1', WORLD_SIZE: '3' }],
    ]
    await Promise.all(
      others.map(async ([name, env]) => {
        const result = await run(encode(path.join(bucket, 'images'), out, '--no-help-others'), env)
        expect(result.stderr).toContain(`worker 1 of 3 (${name}): 0 units to do`)
        expect(result.code).toBe(0)
      }),
    )

    const status = JSON.parse((await run(['status', out, '--json'])).stdout)
    expect(status).toMatchObject({ units: 3, unitsDone: 2, images: 60, imagesDone: 40, complete: false })
    expect((await run(['verify', out, '--partial'])).code).toBe(0)
    const early = await run(['finalize', out, '--json'])
    expect(JSON.parse(early.stdout)).toMatchObject({ complete: false, missing: [0] })
    expect(early.code).toBe(1)
    expect((await run(encode(path.join(bucket, 'images'), out, '--units', '0'))).code).toBe(0)
    rmSync(path.join(out, '_manifest.json'))
    expect((await run(['finalize', out])).code).toBe(0)
    expect((await run(['verify', out])).code).toBe(0)
    expect(JSON.parse((await run(['gc', out, '--json', '--older-than', '0s'])).stdout)).toMatchObject({
      attempts: 0,
      removed: [],
    })
    const part = path.join(out, 'part-00001.arrow')
    const bytes = readFileSync(part)
    bytes[bytes.length >> 1]! ^= 1
    writeFileSync(part, bytes)
    const damaged = await run(['verify', out])
    expect(damaged.stdout).toMatch(/part-00001.arrow has other content than its commit says/)
    expect(damaged.code).toBe(1)
  })
})
