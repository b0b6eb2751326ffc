/**
 * Resident memory of `vtp encode` as it goes on: after each shard, and the peak so far. It is bounded by the batches in
 * flight; what the allocator keeps of freed memory levels off. Reads /proc, so it runs on Linux.
 *
 *   npx tsx bench/memory.ts [--source SOURCE] [--images 20000] [--image-size 256] [--every 1000] [--bin FILE]
 *
 * Without a source: small JPEGs of its own. FILE: the program of another build, for a comparison.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { encodedPicture } from '../test/support/images.js'

const { values } = parseArgs({
  options: {
    source: { type: 'string' },
    images: { type: 'string', default: '20000' },
    'image-size': { type: 'string', default: '256' },
    every: { type: 'string', default: '1000' },
    bin: { type: 'string', default: fileURLToPath(new URL('../bin/run.js', import.meta.url)) },
  },
})
const scratch = mkdtempSync(path.join(tmpdir(), 'vtp-memory-'))

async function ownPictures(): Promise<string> {
  const folder = path.join(scratch, 'in')
  mkdirSync(folder)
  const pictures: Buffer[] = []
  for (let i = 0; i < 50; i++) pictures.push(await encodedPicture(i, 48 + i, 64, 'jpeg'))
  for (let i = 0; i < Number(values.images); i++)
    writeFileSync(path.join(folder, `${String(i).padStart(6, '0')}.jpg`), pictures[i % pictures.length]!)
  return folder
}

/** Resident and highest resident memory of a process, MiB; undefined when it has ended. */
function memoryOf(pid: number): { now: number; peak: number } | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    const read = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)![1]) / 1024
    return { now: read('VmRSS'), peak: read('VmHWM') }
  } catch {
    return undefined
  }
}

const out = path.join(scratch, 'out')
const source = values.source ?? (await ownPictures())
const args = ['encode', source, '--out', out, '--limit', values.images, '--image-size', values['image-size']]
const child = spawn(process.execPath, [values.bin, ...args, '--shard-rows', values.every, '--json'], {
  stdio: ['ignore', 'pipe', 'inherit'],
})
let json = ''
child.stdout.on('data', (chunk: Buffer) => {
  json += chunk.toString()
})
let ended = false
child.on('exit', () => {
  ended = true
})
console.log('images  resident  peak so far (MiB)')
for (let shards = 0; !ended; await sleep(100)) {
  const now = readdirSync(scratch).includes('out')
    ? readdirSync(out).filter((name) => name.startsWith('part-')).length
    : 0
  if (now === shards) continue
  shards = now
  const memory = memoryOf(child.pid!)
  const line = [shards * Number(values.every), memory?.now.toFixed(0), memory?.peak.toFixed(0)]
  if (memory) console.log(line.map((value, i) => String(value).padStart([6, 8, 11][i]!)).join('  '))
}
const { images, seconds, peakMemoryBytes } = JSON.parse(json) as Record<string, number>
console.log(`${images} images in ${seconds!.toFixed(0)} s; peak ${(peakMemoryBytes! / 2 ** 20).toFixed(0)} MiB`)
rmSync(scratch, { recursive: true, force: true })
