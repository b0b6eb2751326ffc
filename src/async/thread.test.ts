import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { buildSync } from 'esbuild'
import { expect, it } from 'vitest'
import { repoRoot, tempDir } from '../../test/support/cli.js'
import { VtpError } from '../errors.js'
import { haltThreads, openThread, startThreadAhead } from './thread.js'

/** The file of a program of this package's parts. */
function program(contents: string): string {
  const outfile = path.join(tempDir(), 'program.mjs')
  const stdin = { contents, resolveDir: repoRoot }
  buildSync({ stdin, bundle: true, platform: 'node', format: 'esm', outfile })
  return outfile
}

/** A worker that serves this. */
const workerOf = (service: string): URL =>
  pathToFileURL(
    program(`import { serveThread, threadData } from './src/async/serve-thread.ts'
import { VtpError } from './src/errors.ts'
serveThread(${service})`),
  )

/** A thread whose worker serves this. */
function open(service: string, options: { uninterruptible?: boolean; onDeath?: (error: Error) => void } = {}) {
  return openThread<unknown, unknown, string>(workerOf(service), {
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

it('one that was started ahead goes to who opens its file next, with its memory; the one after gets another', async () => {
  const url = workerOf(
    `{ start: async () => { globalThis.starts = 1 }, handle: (n) => ({ reply: n + globalThis.starts++ }) }`,
  )
  const failed = (why: string) => new Error(why)
  startThreadAhead(url)
  const first = openThread<number, number>(url, { data: undefined, failed })
  const second = openThread<number, number>(url, { data: undefined, failed })
  await Promise.all([first.ready, second.ready])
  expect(await Promise.all([first.call(10), first.call(10), second.call(20)])).toEqual([11, 12, 21])
  await Promise.all([first.close(), second.close()])
})

it('one that died before anybody wanted it is not handed out', async () => {
  const url = pathToFileURL(
    program(`if (globalThis.process.env.VTP_TEST_DIE) process.exit(1)
import { serveThread } from './src/async/serve-thread.ts'
serveThread({ handle: () => ({ reply: 'alive' }) })`),
  )
  process.env.VTP_TEST_DIE = '1'
  startThreadAhead(url)
  const died = openThread<number, string>(url, { data: undefined, failed: (why) => new Error(why) })
  await expect(died.ready).rejects.toThrow()
  startThreadAhead(url)
  delete process.env.VTP_TEST_DIE
  await expect
    .poll(async () => {
      const thread = openThread<number, string>(url, { data: undefined, failed: (why) => new Error(why) })
      return thread
        .call(1)
        .finally(() => thread.close())
        .catch(() => 'dead')
    })
    .toBe('alive')
})

it('one that was started ahead and is not wanted lets its process end, and is ended when it has started', async () => {
  const worker = workerOf(`{
    start: () => new Promise((resolve) => setTimeout(resolve, 200)),
    handle: () => ({ reply: 1 }),
    close: async () => console.log('closed'),
  }`)
  const lines = (end: string): string => `import { endThreadsAhead, startThreadAhead } from './src/async/thread.ts'
startThreadAhead(new URL(${JSON.stringify(worker.href)}))
${end}`
  const run = (end: string) => spawnSync(process.execPath, [program(lines(end))], { timeout: 60_000, encoding: 'utf8' })
  expect(run('')).toMatchObject({ status: 0, stdout: '' })
  expect(run("await endThreadsAhead()\nconsole.log('ended')")).toMatchObject({ status: 0, stdout: 'closed\nended\n' })
})
