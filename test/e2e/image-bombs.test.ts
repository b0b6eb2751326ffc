/**
 * Small files that are large in memory or long to decode: none below 1 MB may cost more than 10 s or 1 GB. Each is
 * decoded and resized in a process of its own, which is ended when it takes far longer.
 */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { crc32, createDeflate, deflateSync } from 'node:zlib'
import sharp from 'sharp'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { repoRoot } from '../support/cli.js'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'vtp-bombs-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Zeros, compressed without being held. */
async function zeros(count: number): Promise<Buffer> {
  const stream = createDeflate({ level: 9 })
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  const done = new Promise((resolve) => stream.on('end', resolve))
  const block = Buffer.alloc(1 << 20)
  for (let left = count; left > 0; left -= block.length) {
    const part = block.subarray(0, left)
    if (!stream.write(part)) await new Promise((resolve) => stream.once('drain', resolve))
  }
  stream.end()
  await done
  return Buffer.concat(chunks)
}

function chunk(name: string, body: Buffer): Buffer {
  const named = Buffer.concat([Buffer.from(name), body])
  const out = Buffer.alloc(named.length + 8)
  out.writeUInt32BE(body.length)
  named.copy(out, 4)
  out.writeUInt32BE(crc32(named), out.length - 4)
  return out
}

interface Png {
  width: number
  height: number
  /** Bits per sample, and PNG's colour type. */
  bits: number
  colour: number
  interlaced?: boolean
  /** Bytes of rows and their filters, all zero. */
  rawBytes: number
  before?: Buffer
}

async function png({ width, height, bits, colour, interlaced, rawBytes, before }: Png): Promise<Buffer> {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width)
  header.writeUInt32BE(height, 4)
  header.set([bits, colour, 0, 0, interlaced ? 1 : 0], 8)
  const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')
  const pixels = chunk('IDAT', await zeros(rawBytes))
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    before ?? Buffer.alloc(0),
    pixels,
    chunk('IEND', Buffer.alloc(0)),
  ])
}

function segment(code: number, body: number[]): Buffer {
  return Buffer.from([0xff, code, (body.length + 2) >> 8, (body.length + 2) & 255, ...body])
}

/** A grey progressive JPEG; its scans skip every block of the image in runs of 16,384. */
function scans(side: number, count: number): Buffer {
  const blocks = Math.ceil(side / 8) ** 2
  const symbol = (kind: number, value: number): number[] => [kind, 1, ...new Array<number>(15).fill(0), value]
  const size = [side >> 8, side & 255]
  const dc = Buffer.alloc(Math.ceil(blocks / 8))
  const runs = Buffer.alloc(Math.ceil((15 * Math.ceil(blocks / 16384)) / 8))
  const parts = [
    Buffer.from([0xff, 0xd8]),
    segment(0xdb, [0, ...new Array<number>(64).fill(1)]),
    segment(0xc2, [8, ...size, ...size, 1, 1, 0x11, 0]),
    segment(0xc4, symbol(0, 0)),
    segment(0xc4, symbol(0x10, 0xe0)),
    segment(0xda, [1, 1, 0, 0, 0, 0]),
    dc,
  ]
  for (let i = 0; i < count; i++) parts.push(segment(0xda, [1, 1, 0, 1 + (i % 63), 1 + (i % 63), 0]), runs)
  return Buffer.concat([...parts, Buffer.from([0xff, 0xd9])])
}

/** Strips of 1,000 grey pixels that all lie at the same place in the file. */
function sharedStrips(count: number, compression: number, strip: Buffer): Buffer {
  const list = (value: number): Buffer => Buffer.from(new Uint32Array(count).fill(value).buffer)
  const body = Buffer.concat([strip, Buffer.alloc(strip.length % 2), list(8), list(strip.length)])
  const offsetsAt = 8 + strip.length + (strip.length % 2)
  const tags: [number, number, number][] = [
    [256, 1, 1000],
    [257, 1, count],
    [258, 1, 8],
    [259, 1, compression],
    [262, 1, 1],
    [273, count, offsetsAt],
    [278, 1, 1],
    [279, count, offsetsAt + 4 * count],
  ]
  const directory = Buffer.alloc(2 + 12 * tags.length + 4)
  directory.writeUInt16LE(tags.length)
  tags.forEach(([tag, values, value], i) => {
    directory.writeUInt16LE(tag, 2 + 12 * i)
    directory.writeUInt16LE(4, 4 + 12 * i)
    directory.writeUInt32LE(values, 6 + 12 * i)
    directory.writeUInt32LE(value, 10 + 12 * i)
  })
  const header = Buffer.from('II*\0----')
  header.writeUInt32LE(8 + body.length, 4)
  return Buffer.concat([header, body, directory])
}

const flat = (side: number) => sharp({ create: { width: side, height: side, channels: 3, background: '#345' } })
/** Clear codes of 9 bits, then nothing. */
const clearCodes = (): Buffer => Buffer.concat(new Array(40_000).fill(Buffer.from('8040201008040201008', 'hex')))

const BOMBS: [name: string, result: RegExp, make: () => Buffer | Promise<Buffer>][] = [
  [
    '45,000,000×1.png',
    /^too_many_pixels at transform$/,
    () => png({ width: 45e6, height: 1, bits: 1, colour: 0, rawBytes: 5625001 }),
  ],
  [
    '1×45,000,000.png',
    /^too_many_pixels at transform$/,
    () => png({ width: 1, height: 45e6, bits: 1, colour: 0, rawBytes: 9e7 }),
  ],
  [
    '1×1,000,000.png',
    /^too_many_pixels at transform$/,
    () => png({ width: 1, height: 1e6, bits: 8, colour: 2, rawBytes: 4e6 }),
  ],
  ['1,000,000×1.png', /^row$/, () => png({ width: 1e6, height: 1, bits: 8, colour: 2, rawBytes: 3e6 + 1 })],
  [
    '10,000×10,000, 16 bits, interlaced.png',
    /^too_many_pixels at decode$/,
    () => png({ width: 1e4, height: 1e4, bits: 16, colour: 6, interlaced: true, rawBytes: 1000 }),
  ],
  [
    'a text of 400 MB.png',
    /^row$/,
    async () =>
      png({
        width: 9,
        height: 9,
        bits: 8,
        colour: 2,
        rawBytes: 9 * 28,
        before: chunk('zTXt', Buffer.concat([Buffer.from('a\0\0'), await zeros(4e8)])),
      }),
  ],
  [
    'a colour profile of 400 MB.png',
    /^row$/,
    async () =>
      png({
        width: 9,
        height: 9,
        bits: 8,
        colour: 2,
        rawBytes: 9 * 28,
        before: chunk('iCCP', Buffer.concat([Buffer.from('a\0\0'), await zeros(4e8)])),
      }),
  ],
  ['20,000 scans.jpg', /^too_many_pixels at decode$/, () => scans(4000, 20_000)],
  ['600 scans.jpg', /^row$/, () => scans(4000, 600)],
  ['8,000×8,000.webp', /^row$/, () => flat(8000).webp({ lossless: true, effort: 0 }).toBuffer()],
  ['60,000 strips of deflate.tif', /^row$/, () => sharedStrips(60_000, 8, deflateSync(Buffer.alloc(1000)))],
  [
    '60,000 long strips of LZW that mean nothing.tif',
    /^corrupt at decode$/,
    () => sharedStrips(60_000, 5, clearCodes()),
  ],
  [
    '65,535×65,535.gif',
    /^too_many_pixels at decode$/,
    () =>
      Buffer.concat([
        Buffer.from('GIF89a\xff\xff\xff\xff\0\0\0', 'latin1'),
        Buffer.from('2c00000000ffffffff000800', 'hex'),
      ]),
  ],
]

it.each(BOMBS)('%s costs less than 10 s and 1 GB', async (name, result, make) => {
  const file = path.join(folder, name)
  writeFileSync(file, await make())
  expect(statSync(file).size).toBeLessThan(1_000_000)
  const script = path.join(repoRoot, 'test/support/decode-cost.ts')
  // More time than is allowed: other tests run beside this one.
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', script, file], { timeout: 60_000 })
  const cost = JSON.parse(stdout) as { result: string; peakMiB: number }
  expect(cost.result).toMatch(result)
  expect(cost.peakMiB).toBeLessThan(1024)
})
