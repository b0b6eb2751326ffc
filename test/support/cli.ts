/** Runs the built command line as a process, as users do. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, onTestFinished } from 'vitest'

export const repoRoot = fileURLToPath(new URL('../..', import.meta.url))
export const binPath = path.join(repoRoot, 'bin', 'run.js')

export interface CliResult {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

export interface CliOptions {
  env?: Record<string, string>
  cwd?: string
  input?: string | Buffer
  /** Kill after this time; a hang is a failure. */
  timeoutMs?: number
  onSpawn?: (child: ChildProcess) => void
}

/** Runs `vtp ARGS…` and waits for its end. */
export function runCli(args: string[], options: CliOptions = {}): Promise<CliResult> {
  return new Promise((resolve, reject) => {
    const env: NodeJS.ProcessEnv = { ...process.env, ...options.env }
    // The test runner's own settings must not reach the program.
    for (const name of Object.keys(env)) if (name.startsWith('VITEST') || name === 'NODE_OPTIONS') delete env[name]
    const child = spawn(process.execPath, [binPath, ...args], { env, cwd: options.cwd ?? repoRoot, stdio: 'pipe' })
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 120_000)
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (chunk) => {
      stdout += chunk
    })
    child.stderr.on('data', (chunk) => {
      stderr += chunk
    })
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      resolve({ code, signal, stdout, stderr })
    })
    options.onSpawn?.(child)
    child.stdin.on('error', () => {})
    child.stdin.end(options.input ?? '')
  })
}

/** A temporary folder that goes with the test. */
export function tempDir(): string {
  const dir = mkdtempSync(path.join(tmpdir(), 'vtp test '))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** A temporary folder that goes with the file's last test. */
export function sharedTempDir(): string {
  const dir = mkdtempSync(path.join(tmpdir(), 'vtp test '))
  afterAll(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}
