/**
 * Reading objects: processor time of this process per object beyond that of a local file, from a local versitygw (which
 * the tests build), and boto3 on the same objects. The first round has code that is not compiled yet.
 *
 *   npx tsx bench/s3.ts [--objects 1500] [--bytes 110000] [--rounds 4] [--python PYTHON]
 *
 * PYTHON needs boto3.
 */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { getObject } from '../src/io/s3/objects.js'
import { startGateway, withEnv } from '../test/support/s3-gateway.js'

const { values } = parseArgs({
  options: {
    objects: { type: 'string', default: '1500' },
    bytes: { type: 'string', default: '110000' },
    rounds: { type: 'string', default: '4' },
    python: { type: 'string' },
  },
})
const AT_ONCE = 32
const count = Number(values.objects)
const gateway = await startGateway(['bucket'])
const key = (i: number): string => `object-${i}.jpg`
for (let i = 0; i < count; i++)
  writeFileSync(path.join(gateway.folder, 'bucket', key(i)), Buffer.alloc(Number(values.bytes), i))

async function perObject(read: (i: number) => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage()
  let next = 0
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < count) await read(next++)
    }),
  )
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000 / count
}

const BOTO3 = `
import boto3, sys, time
from botocore.config import Config
from concurrent.futures import ThreadPoolExecutor
count = int(sys.argv[1])
client = boto3.client("s3", endpoint_url=sys.argv[2], config=Config(max_pool_connections=64))
read = lambda i: client.get_object(Bucket="bucket", Key=f"object-{i}.jpg")["Body"].read()
for _ in range(2):
    with ThreadPoolExecutor(16) as pool:
        began = time.process_time()
        list(pool.map(read, range(count)))
        seconds = time.process_time() - began
print(seconds * 1000 / count)
`

await withEnv(gateway.env, async () => {
  for (let round = 0; round < Number(values.rounds); round++) {
    const local = await perObject((i) => readFile(path.join(gateway.folder, 'bucket', key(i))))
    const remote = await perObject((i) => getObject({ bucket: 'bucket', key: key(i) }))
    console.log(`local file ${local.toFixed(3)} ms  object ${remote.toFixed(3)} ms`)
  }
  if (!values.python) return
  const args = ['-c', BOTO3, String(count), gateway.endpoint]
  console.log(`boto3 ${Number(execFileSync(values.python, args, { encoding: 'utf8' })).toFixed(3)} ms`)
})
await gateway.close()
