/**
 * Our side of bench/preprocess.ts, a process of its own so that it can be held on one core. `run` is what
 * `vtp encode` does with one core: one preprocessing thread with its images in flight, files read as it goes.
 * `decode` and `resize` take one image after the other on one thread. Jobs and answers as in preprocess.py.
 */
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { createLimiter } from '../../src/async/stages.js'
import { DEFAULT_LIMITS, decodeImage } from '../../src/image/decode.js'
import { openPixelPool } from '../../src/image/pool/pool.js'
import { applyTransform, parseTransform } from '../../src/image/transform.js'
import type { RgbImage } from '../../src/types.js'

export interface PreprocessJob {
  kind: 'run' | 'decode' | 'resize'
  transform: string
  files: string[]
}

const decode = (file: string): Promise<RgbImage> => decodeImage(readFileSync(file), DEFAULT_LIMITS, 'here')

const pools = new Map<string, ReturnType<typeof openPixelPool>>()

async function run({ transform, files }: PreprocessJob): Promise<void> {
  const { spec, width, height } = parseTransform(transform)
  let pool = pools.get(spec)
  if (!pool) {
    pool = openPixelPool(1)
    pools.set(spec, pool)
  }
  const target = new SharedArrayBuffer(width * height * 3 * 8)
  const limit = createLimiter(4)
  const one = async (file: string, i: number): Promise<void> => {
    const place = { target, offsets: [(i % 8) * width * height * 3] }
    const result = await pool.run({ bytes: await readFile(file), views: [{ kind: 'transform', spec }], place })
    if ('reject' in result) throw new Error(`${file}: ${result.reject.message}`)
  }
  await Promise.all(files.map((file, i) => limit(() => one(file, i))))
}

const decoded = new Map<string, RgbImage[]>()

async function prepare({ kind, transform, files }: PreprocessJob): Promise<() => unknown> {
  if (kind === 'run') return () => run({ kind, transform, files })
  if (kind === 'decode') {
    return async () => {
      for (const file of files) await decode(file)
    }
  }
  const key = files.join('\n')
  const images = decoded.get(key) ?? (await Promise.all(files.map(decode)))
  decoded.set(key, images)
  const parsed = parseTransform(transform)
  return () => images.forEach((image) => void applyTransform(image, parsed))
}

console.log('ready')
for await (const line of createInterface({ input: process.stdin })) {
  const job = await prepare(JSON.parse(line) as PreprocessJob)
  const [start, usage] = [performance.now(), process.cpuUsage()]
  await job()
  const { user, system } = process.cpuUsage(usage)
  console.log(JSON.stringify({ seconds: (performance.now() - start) / 1000, cpu: (user + system) / 1e6 }))
}
process.exit(0)
