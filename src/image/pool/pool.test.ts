import { execFileSync } from 'node:child_process'
import { afterEach, expect, it } from 'vitest'
import { encodedPicture } from '../../../test/support/images.js'
import { createPreprocessPool, type PreprocessPool } from './pool.js'

const settings = {
  transform: 'resize(32,32,bilinear)',
  limits: { maxPixels: 100_000_000, timeoutMs: 60_000 },
  flip: false,
}
const PIXELS = 32 * 32 * 3
let pool: PreprocessPool
afterEach(() => pool.close())

/** A fresh copy: the bytes of a job are transferred away. */
const place = () => ({ target: new SharedArrayBuffer(PIXELS), offset: 0, flipOffset: 0 })

it('a child that dies while it decodes costs that image; the next one goes to a new child', async () => {
  pool = createPreprocessPool(settings, 1, true)
  const small = await encodedPicture(1, 40, 30, 'png')
  expect(await pool.run(new Uint8Array(small), place())).toMatchObject({ width: 40, height: 30 })
  const found = execFileSync('pgrep', ['-P', String(process.pid), '-f', 'preprocess-worker'], { encoding: 'utf8' })
  const children = found.trim().split('\n').map(Number)
  // Stopped first: it cannot be done with the image before it is killed.
  for (const pid of children) process.kill(pid, 'SIGSTOP')
  const running = pool.run(new Uint8Array(small), place())
  for (const pid of children) process.kill(pid, 'SIGKILL')
  expect(await running).toEqual({
    reject: { code: 'crashed_decoder', stage: 'decode', message: 'the decoder ended with SIGKILL' },
  })
  expect(await pool.run(new Uint8Array(small), place())).toMatchObject({ width: 40, height: 30 })
})

it('child processes give the same pixels as threads', async () => {
  const image = await encodedPicture(3, 90, 70, 'jpeg')
  const pixels: Buffer[] = []
  for (const isolated of [false, true]) {
    pool = createPreprocessPool(settings, 1, isolated)
    const at = place()
    await pool.run(new Uint8Array(image), at)
    pixels.push(Buffer.from(new Uint8Array(at.target)))
    await pool.close()
  }
  expect(pixels[1]).toEqual(pixels[0])
  expect(new Set(pixels[0]).size).toBeGreaterThan(20)
})
