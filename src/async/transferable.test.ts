import { MessageChannel } from 'node:worker_threads'
import sharp from 'sharp'
import { expect, it } from 'vitest'
import { transferable } from './transferable.js'

it('what is left can be handed over on every Node, and each buffer once', async () => {
  const own = new ArrayBuffer(8)
  const pooled = Buffer.from('a text').buffer
  const native = (
    await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
      .raw()
      .toBuffer()
  ).buffer
  const buffers = transferable([own, pooled, own, native, new SharedArrayBuffer(8)])
  expect(buffers.filter((buffer) => buffer === own)).toHaveLength(1)
  const { port1, port2 } = new MessageChannel()
  expect(() => port1.postMessage(undefined, buffers)).not.toThrow()
  expect(own.byteLength).toBe(0)
  port2.close()
})
