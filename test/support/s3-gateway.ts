/**
 * A real S3 server for tests: versitygw over a temporary folder. It is built once with Go into a cache
 * outside the checkout; VERSITYGW may name a binary that is there already.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const VERSION = 'v1.8.0'
/** Credentials that must never show up in anything a run leaves. */
export const ACCESS_KEY = 'AKIDPLANTEDACCESSKEY'
export const SECRET_KEY = 'planted+secret/key+0123456789abcdefghij'

/** Building takes minutes on a cold machine: give hooks that start the server this much time. */
export const BUILD_TIMEOUT_MS = 600_000

async function gatewayBinary(): Promise<string> {
  if (process.env.VERSITYGW) return process.env.VERSITYGW
  const cache = path.join(process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'vtp-test')
  const binary = path.join(cache, `versitygw-${VERSION}`)
  if (existsSync(binary)) return binary
  mkdirSync(cache, { recursive: true })
  const lock = `${binary}.lock`
  try {
    mkdirSync(lock)
  } catch {
    // Another test file builds it.
    for (const end = Date.now() + BUILD_TIMEOUT_MS; existsSync(lock) && Date.now() < end; ) await sleep(500)
    if (existsSync(binary)) return binary
  }
  const bin = mkdtempSync(path.join(cache, 'build-'))
  try {
    await promisify(execFile)('go', ['install', `github.com/versity/versitygw/cmd/versitygw@${VERSION}`], {
      env: { ...process.env, GOBIN: bin, GOFLAGS: '' },
      cwd: bin,
    })
    renameSync(path.join(bin, 'versitygw'), binary)
  } catch (error) {
    throw new Error(`The S3 server of the tests cannot be built (Go is needed): ${(error as Error).message}`)
  } finally {
    rmSync(bin, { recursive: true, force: true })
    rmSync(lock, { recursive: true, force: true })
  }
  return binary
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

export async function waitForPort(port: number, child?: ChildProcess): Promise<void> {
  const { connect } = await import('node:net')
  for (let i = 0; i < 200; i++) {
    if (child && child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}`)
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1')
      socket.once('connect', () => resolve(true))
      socket.once('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    })
    if (open) return
    await sleep(50)
  }
  throw new Error(`nothing listens on port ${port}`)
}

export interface Gateway {
  endpoint: string
  port: number
  /** The folder behind the server: buckets are folders, objects are files. */
  folder: string
  /** What a client needs. */
  env: Record<string, string>
  close(): Promise<void>
}

export function clientEnv(endpoint: string): Record<string, string> {
  return {
    AWS_ENDPOINT_URL: endpoint,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: ACCESS_KEY,
    AWS_SECRET_ACCESS_KEY: SECRET_KEY,
    AWS_SESSION_TOKEN: '',
    AWS_EC2_METADATA_DISABLED: 'true',
    NO_PROXY: '127.0.0.1',
  }
}

/** Starts the server with the given buckets. */
export async function startGateway(buckets: string[] = ['bucket']): Promise<Gateway> {
  const binary = await gatewayBinary()
  const folder = mkdtempSync(path.join(tmpdir(), 'vtp-s3-'))
  for (const bucket of buckets) mkdirSync(path.join(folder, bucket))
  const port = await freePort()
  const child = spawn(binary, ['--port', `127.0.0.1:${port}`, '--keep-alive', '--quiet', 'posix', folder], {
    env: { ...process.env, ROOT_ACCESS_KEY: ACCESS_KEY, ROOT_SECRET_KEY: SECRET_KEY },
    stdio: 'ignore',
  })
  const stop = (): void => void child.kill('SIGKILL')
  process.once('exit', stop)
  await waitForPort(port, child)
  const endpoint = `http://127.0.0.1:${port}`
  return {
    endpoint,
    port,
    folder,
    env: clientEnv(endpoint),
    async close() {
      process.off('exit', stop)
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGKILL')
      await ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Runs `fn` in this process with a client's environment. */
export async function withEnv<T>(env: Record<string, string>, fn: () => Promise<T>): Promise<T> {
  const { closeS3 } = await import('../../src/io/s3/client.js')
  const before = process.env
  process.env = { ...before, ...env }
  try {
    return await fn()
  } finally {
    await closeS3()
    process.env = before
  }
}
