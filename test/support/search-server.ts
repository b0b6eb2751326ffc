/** `vtp serve` as a process, with a small index over real pictures. */
import { type ChildProcess, spawn } from 'node:child_process'
import path from 'node:path'
import { expect } from 'vitest'
import { binPath, repoRoot, runCli } from './cli.js'

/** Embeds SOURCE and indexes it in `dir`; returns the index's folder. */
export async function buildIndexOf(source: string, dir: string, kind = 'hnsw'): Promise<string> {
  const [embeddings, index] = [path.join(dir, 'embeddings'), path.join(dir, `${kind}.index`)]
  const embedded = await runCli(['embed', source, '--out', embeddings])
  expect(embedded.code, embedded.stderr).toBe(0)
  const indexed = await runCli(['index', embeddings, '--out', index, '--kind', kind])
  expect(indexed.code, indexed.stderr).toBe(0)
  return index
}

export interface RunningServer {
  url: string
  child: ChildProcess
  /** What it wrote to stderr so far. */
  log(): string
  /** Ends it as Ctrl-C does; the exit code. */
  stop(): Promise<number | null>
}

export async function startServe(index: string, extra: Record<string, string> = {}): Promise<RunningServer> {
  const env: NodeJS.ProcessEnv = { ...process.env, ...extra }
  for (const name of Object.keys(env)) if (name.startsWith('VITEST') || name === 'NODE_OPTIONS') delete env[name]
  const child = spawn(process.execPath, [binPath, 'serve', index, '--port', '0'], { cwd: repoRoot, env, stdio: 'pipe' })
  let log = ''
  child.stderr.on('data', (chunk) => {
    log += chunk
  })
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString().trim()))
    void ended.then((code) => reject(new Error(`vtp serve ended with ${code}: ${log}`)))
  })
  return {
    url,
    child,
    log: () => log,
    stop: () => {
      child.kill('SIGINT')
      return ended
    },
  }
}
