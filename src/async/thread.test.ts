import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { buildSync } from 'esbuild'
import { expect, it } from 'vitest'
import { repoRoot, tempDir } from '../../test/support/cli.js'
import { VtpError } from '../errors.js'
import { haltThreads, openThread } from './thread.js'

/** A thread whose worker is this text. */
function open(service: string, options: { uninterruptible?: boolean; onDeath?: (error: Error) => void } = {}) {
  const file = path.join(tempDir(), 'worker.mjs')
  const contents = `import { serveThread, threadData } from './src/async/serve-thread.ts'
import { VtpError } from './src/errors.ts'
serveThread(${service})`
  buildSync({
    stdin: { contents, resolveDir: repoRoot },
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile: file,
  })
  return openThread<unknown, unknown, string>(pathToFileURL(file), {
    data: 'given',
    failed: (why) => new VtpError(`it failed: ${why}`, { code: 'failed' }),
    ...options,
  })
}

it('answers calls in order, with what it was given, and ends when all are answered', async () => {
  const thread = open(`{ handle: async (n) => ({ reply: [threadData(), n] }) }`)
  const answers = Promise.all([1, 2, 3].map((n) => thread.call(n)))
  expect(thread.waiting).toBe(4)
  await thread.close()
  expect(await answers).toEqual([1, 2, 3].map((n) => ['given', n]))
  await expect(thread.call(4)).rejects.toThrow('it failed: its thread was closed')
})

it('hands buffers over, both ways', async () => {
  const thread = open(`{ handle: (bytes) => ({ reply: bytes, transfer: [bytes.buffer] }) }`)
  const bytes = Uint8Array.of(1, 2, 3)
  const back = thread.call(bytes, [bytes.buffer])
  expect(bytes.length).toBe(0)
  expect(await back).toEqual(Uint8Array.of(1, 2, 3))
  await thread.close()
})

it('an error is that of the call, with its code and suggestions; others get the owner’s words', async () => {
  const thread = open(`{ handle: (what) => {
    throw what === 'ours' ? new VtpError('the disk is full', { code: 'full', exitCode: 2, suggestions: ['free space'] }) : new Error('odd')
  } }`)
  await expect(thread.call('ours')).rejects.toMatchObject({ code: 'full', exitCode: 2, suggestions: ['free space'] })
  await expect(thread.call('other')).rejects.toMatchObject({ code: 'failed', message: 'it failed: odd' })
  await thread.close()
})

it('a thread that cannot start or dies rejects what waits and what comes', async () => {
  const unready = open(`{ start: async () => { throw new Error('no device') }, handle: () => ({}) }`)
  await expect(unready.ready).rejects.toThrow('it failed: no device')
  await expect(unready.call(1)).rejects.toThrow('it failed')
  const deaths: string[] = []
  const dying = open(`{ handle: () => process.exit(7) }`, { onDeath: (error) => deaths.push(error.message) })
  const settled = await Promise.allSettled([dying.call(1), dying.call(2)])
  expect(settled.map((result) => result.status)).toEqual(['rejected', 'rejected'])
  await expect(dying.call(3)).rejects.toThrow('it failed: its worker thread ended with code 7')
  expect(deaths).toEqual(['it failed: its worker thread ended with code 7'])
  await dying.close()
})

it('halting lets the call in hand end and begins no other', async () => {
  const begun = new Int32Array(new SharedArrayBuffer(8))
  const thread = open(
    `{ handle: async ({ begun }) => {
      Atomics.add(begun, 0, 1)
      Atomics.wait(begun, 1, 0)
      return { reply: 'done' }
    } }`,
    { uninterruptible: true },
  )
  const first = thread.call({ begun })
  const second = thread.call({ begun })
  second.catch(() => {})
  while (Atomics.load(begun, 0) === 0) await new Promise((resolve) => setImmediate(resolve))
  const halted = haltThreads()
  Atomics.store(begun, 1, 1)
  Atomics.notify(begun, 1)
  await halted
  expect(await first).toBe('done')
  await expect(second).rejects.toThrow('closed')
  expect(begun[0]).toBe(1)
})
