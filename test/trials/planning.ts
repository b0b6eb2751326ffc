/**
 * Plans from a bucket of 10 million keys (a server that makes up its listing), killed half-way and continued,
 * and the remaining work of 100,000 committed units, on a disk and in a bucket (versitygw).
 *
 *   npx tsx test/trials/planning.ts [KEYS] [COMMITS]
 */
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openStore } from '../../src/io/open-store.js'
import { committedUnits } from '../../src/pipeline/ledger/commits.js'
import { binPath } from '../support/cli.js'
import { clientEnv, startGateway, withEnv } from '../support/s3-gateway.js'

const keys = Number(process.argv[2] ?? 10_000_000)
const commits = Number(process.argv[3] ?? 100_000)
const PAGE = 1000
const keyAt = (i: number): string =>
  `set/n${String(Math.floor(i / 10_000)).padStart(5, '0')}/${String(i).padStart(9, '0')}.jpg`

let pages = 0
const server = createServer((request, response) => {
  const query = new URL(request.url!, 'http://x').searchParams
  const after = query.get('start-after')
  const digit = /_vtp\/commits\/(\d)$/.exec(query.get('prefix') ?? '')?.[1]
  const total = digit === undefined ? keys : Math.floor(commits / 10)
  const name = (i: number): string =>
    digit === undefined ? keyAt(i) : `run/_vtp/commits/${digit}${String(i).padStart(4, '0')}.json`
  const from = Number(query.get('continuation-token') ?? (after ? Number(after.slice(-13, -4)) + 1 : 0))
  const to = Math.min(total, from + PAGE)
  pages++
  let body = ''
  for (let i = from; i < to; i++) {
    body += `<Contents><Key>${name(i)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;${String(i).padStart(32, '0')}&quot;</ETag><Size>${100_000 + (i % 1000)}</Size><StorageClass>STANDARD</StorageClass></Contents>`
  }
  const more =
    to < total
      ? `<IsTruncated>true</IsTruncated><NextContinuationToken>${to}</NextContinuationToken>`
      : '<IsTruncated>false</IsTruncated>'
  response.writeHead(200, { 'content-type': 'application/xml' })
  response.end(
    `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>big</Name><Prefix>set/</Prefix><KeyCount>${to - from}</KeyCount><MaxKeys>1000</MaxKeys>${more}${body}</ListBucketResult>`,
  )
})
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const env = clientEnv(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
const dir = mkdtempSync(path.join(tmpdir(), 'vtp-planning-'))
const out = path.join(dir, 'out')

async function plan(killAtPage?: number): Promise<void> {
  const began = performance.now()
  const first = pages
  const child = spawn(process.execPath, [binPath, 'plan', 's3://big/set', '--out', out], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  let peakKb = 0
  while (child.exitCode === null && child.signalCode === null) {
    try {
      peakKb = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1] ?? peakKb)
    } catch {}
    if (killAtPage !== undefined && pages - first >= killAtPage) child.kill('SIGKILL')
    await Promise.race([sleep(100), ended])
  }
  console.log(
    `${killAtPage ? 'killed' : `exit code ${child.exitCode}`}: ${pages - first} pages of 1,000 keys in ${((performance.now() - began) / 1000).toFixed(1)} s, peak memory ${Math.round(peakKb / 1024)} MiB`,
  )
}

if (keys > 0) {
  await plan(Math.floor(keys / PAGE / 2))
  await plan()
  const { source, units } = JSON.parse(readFileSync(path.join(out, '_vtp', 'plan.json'), 'utf8'))
  const listing = readdirSync(path.join(out, '_vtp')).find((name) => name.startsWith('listing-'))!
  console.log(
    `${source.images} images in ${units.length} units; listing ${statSync(path.join(out, '_vtp', listing)).size} bytes`,
  )
}
await withEnv(env, async () => {
  const store = await openStore('s3://big/run')
  const began = performance.now()
  const before = process.cpuUsage()
  const { size } = await committedUnits(store)
  const { user, system } = process.cpuUsage(before)
  console.log(
    `${size} commits in a bucket that lists at once: ${((performance.now() - began) / 1000).toFixed(2)} s (${((user + system) / 1e6).toFixed(2)} s of work, the server's included)`,
  )
})
server.close()
rmSync(dir, { recursive: true, force: true })

const gateway = await startGateway()
const folder = path.join(gateway.folder, 'bucket', 'run', '_vtp', 'commits')
mkdirSync(folder, { recursive: true })
for (let unit = 0; unit < commits; unit++)
  writeFileSync(path.join(folder, `${String(unit).padStart(5, '0')}.json`), '{}')
for (const [name, uri] of [
  ['disk', path.join(gateway.folder, 'bucket', 'run')],
  ['bucket', 's3://bucket/run'],
] as const) {
  await withEnv(gateway.env, async () => {
    const store = await openStore(uri)
    const began = performance.now()
    const { size } = await committedUnits(store)
    console.log(`${size} commits on a ${name}: ${((performance.now() - began) / 1000).toFixed(2)} s`)
  })
}
await gateway.close()
