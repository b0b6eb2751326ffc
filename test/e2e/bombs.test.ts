/**
 * Files below 1 MB that claim or unfold to far more: none may cost more than 10 s of work or 1 GB of memory, and each
 * is an error that says what is wrong, or a reject. Work is counted in seconds of the processor, not of the clock.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { deflateRawSync } from 'node:zlib'
import { expect, it } from 'vitest'
import { binPath, repoRoot, tempDir } from '../support/cli.js'

const images = path.join(repoRoot, 'fixtures', 'images', 'things')
const text = (...parts: string[]): Buffer => Buffer.from(parts.join(''), 'latin1')
const pickle = (...parts: string[]): Buffer => text('\x80\x02', ...parts, '.')

/** A zip of one member with this content, deflated. */
function zip(name: string, content: Buffer): Buffer {
  const data = deflateRawSync(content)
  const sizes = Buffer.alloc(12)
  sizes.writeUInt32LE(data.length, 4)
  sizes.writeUInt32LE(content.length, 8)
  const fields = Buffer.concat([
    Buffer.from([20, 0, 0, 0, 8, 0, 0, 0, 0, 0]),
    sizes,
    Buffer.from([name.length, 0, 0, 0]),
  ])
  const local = Buffer.concat([text('PK\x03\x04'), fields, text(name), data])
  const entry = Buffer.concat([text('PK\x01\x02\x14\x00'), fields, Buffer.alloc(14), text(name)])
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 'latin1')
  end.writeUInt16LE(1, 8)
  end.writeUInt16LE(1, 10)
  end.writeUInt32LE(entry.length, 12)
  end.writeUInt32LE(local.length, 16)
  return Buffer.concat([local, entry, end])
}

function safetensors(header: string): Buffer {
  const length = Buffer.alloc(8)
  length.writeUInt32LE(header.length)
  return Buffer.concat([length, text(header)])
}

function npy(shape: string): Buffer {
  const header = `{'descr': '<f8', 'fortran_order': False, 'shape': ${shape}, }`.padEnd(117)
  return text('\x93NUMPY\x01\x00', '\x76\x00', header, '\n')
}

/** Ten lists, each of nine times the one before. */
const laughs = ['a: &a [x, x, x, x, x, x, x, x, x]']
for (const [i, name] of [...'bcdefghij'].entries())
  laughs.push(`${name}: &${name} [${Array(9).fill(`*${'abcdefghi'[i]}`).join(', ')}]`)

const dit = (file: string): string[] => ['generate', '--dit', file, '--out', 'OUT', '--dry-run']
const shards = (file: string): string[] => ['decode', file, '--out', 'OUT']
const source = (file: string): string[] => ['encode', file, '--out', 'OUT']
const config = (file: string): string[] => ['encode', images, '--out', 'OUT', '--config', file]
const recipe = (file: string): string[] => ['generate', '--dit-config', file, '--dit', 'x.pt', '--out', 'OUT']

const bombs: [what: string, file: string, bytes: Buffer, command: (file: string) => string[]][] = [
  ['lists in lists', 'a.pt', pickle(']'.repeat(300_000), 'a'.repeat(299_999)), dit],
  ['tuples in tuples', 'a.pt', pickle('N', '\x85'.repeat(900_000)), dit],
  ['marks alone', 'a.pt', pickle('('.repeat(900_000)), dit],
  ['what is remembered, over and over', 'a.pt', pickle(']q\x00(', 'h\x00'.repeat(400_000), 'e'), dit],
  ['a compressed pickle of 150 million lists', 'a.pt', zip('archive/data.pkl', pickle(']'.repeat(150_000_000))), dit],
  ['JSON in JSON in a header', 'a.safetensors', safetensors('['.repeat(900_000)), shards],
  [
    'rows without bytes',
    'a.safetensors',
    safetensors('{"latents":{"dtype":"F32","shape":[1000000000000000,0],"data_offsets":[0,0]}}'),
    shards,
  ],
  [
    'a compressed matrix of 480 MB',
    'a.npz',
    zip('mu.npy', Buffer.concat([npy('(60000000,)'), Buffer.alloc(480e6)])),
    (file) => ['fid', file, images],
  ],
  ['a line of brackets', 'a.jsonl', text('['.repeat(900_000), '\n'), source],
  ['an address of 900,000 letters', 'a.jsonl', text('{"uri":"', 'a'.repeat(900_000), '"}\n'), source],
  ['lists in lists', 'a.yaml', text('a: ', '['.repeat(20_000), '\n'), config],
  ['aliases of aliases', 'a.yaml', text(laughs.join('\n')), config],
  ['aliases of aliases', 'b.yaml', text(laughs.join('\n')), recipe],
]

it.each(bombs)('%s (%s)', (_, name, bytes, command) => {
  expect(bytes.length).toBeLessThan(1e6)
  const work = tempDir()
  const [file, used, watcher] = [name, 'used.json', 'watch.cjs'].map((part) => path.join(work, part)) as [
    string,
    string,
    string,
  ]
  mkdirSync(path.join(work, 'out'))
  writeFileSync(file, bytes)
  writeFileSync(
    watcher,
    `process.on('exit', () => require('node:fs').writeFileSync(${JSON.stringify(used)}, JSON.stringify(process.resourceUsage())))`,
  )
  const args = command(file).map((arg) => (arg === 'OUT' ? path.join(work, 'out') : arg))
  const { status, stderr } = spawnSync(process.execPath, ['--require', watcher, binPath, ...args], {
    encoding: 'utf8',
    timeout: 200_000,
    killSignal: 'SIGKILL',
  })
  expect([1, 2, 3], stderr).toContain(status)
  expect(stderr).not.toMatch(/bug in vtp|at .*\.js:\d+/)
  const { maxRSS, userCPUTime, systemCPUTime } = JSON.parse(readFileSync(used, 'utf8')) as NodeJS.ResourceUsage
  expect(maxRSS).toBeLessThan(1e6) // kilobytes
  expect((userCPUTime + systemCPUTime) / 1e6).toBeLessThan(10)
})
