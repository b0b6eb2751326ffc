/**
 * Peak memory of `vtp encode` over 2,000 and over 20,000 small images. It is bounded by the batches in
 * flight; what the allocator keeps of freed memory levels off within the first few thousand images.
 *
 *   npx tsx bench/memory.ts [--small N] [--large N] [--image-size S]
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { encodedPicture } from '../test/support/images.js'
import { printTable } from './support/measure.js'

const { values } = parseArgs({
  options: {
    small: { type: 'string', default: '2000' },
    large: { type: 'string', default: '20000' },
    'image-size': { type: 'string', default: '256' },
  },
})
const scratch = mkdtempSync(path.join(tmpdir(), 'vtp-memory-'))
const bin = fileURLToPath(new URL('../bin/run.js', import.meta.url))

const pictures: Buffer[] = []
for (let i = 0; i < 50; i++) pictures.push(await encodedPicture(i, 48 + i, 64, 'jpeg'))

function peak(count: number): { megabytes: number; rows: number; seconds: number } {
  const folder = path.join(scratch, `in-${count}`)
  mkdirSync(folder, { recursive: true })
  for (let i = 0; i < count; i++)
    writeFileSync(path.join(folder, `${String(i).padStart(6, '0')}.jpg`), pictures[i % pictures.length]!)
  const args = [
    bin,
    'encode',
    folder,
    '--out',
    path.join(scratch, `out-${count}`),
    '--image-size',
    values['image-size'],
    '--shard-rows',
    '1000',
    '--json',
  ]
  const result = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (result.status !== 0) throw new Error(result.stderr)
  const { images, seconds, peakMemoryBytes } = JSON.parse(result.stdout) as Record<string, number>
  return { rows: images!, seconds: seconds!, megabytes: peakMemoryBytes! / 2 ** 20 }
}

const small = peak(Number(values.small))
const large = peak(Number(values.large))
printTable('peak resident memory of the whole command', [
  [`${small.rows} images`, `${small.megabytes.toFixed(0)} MiB  (${small.seconds.toFixed(0)} s)`],
  [`${large.rows} images`, `${large.megabytes.toFixed(0)} MiB  (${large.seconds.toFixed(0)} s)`],
  ['ratio', (large.megabytes / small.megabytes).toFixed(3)],
])
rmSync(scratch, { recursive: true, force: true })
