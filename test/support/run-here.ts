/** Runs built commands in this process: flags, work and messages are those of `vtp`, without the start of a process. */
import { run } from '@oclif/core'
import { repoRoot } from './cli.js'

export interface HereResult {
  code: number
  stdout: string
  stderr: string
}

/** Runs `vtp ARGS…` and gives what it wrote. One at a time: what is written meanwhile counts as its own. */
export async function runHere(args: string[]): Promise<HereResult> {
  const written = { stdout: '', stderr: '' }
  const kept = { stdout: process.stdout.write, stderr: process.stderr.write }
  const exitCode = process.exitCode
  for (const name of ['stdout', 'stderr'] as const) {
    process[name].write = ((chunk: string | Uint8Array, ...rest: unknown[]) => {
      written[name] += typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString()
      for (const done of rest) if (typeof done === 'function') done()
      return true
    }) as typeof process.stdout.write
  }
  process.exitCode = 0
  try {
    await run(args, { root: repoRoot })
    return { code: Number(process.exitCode), ...written }
  } catch (error) {
    const { exit } = (error as { oclif?: { exit?: number } }).oclif ?? {}
    if (exit === undefined) throw error
    return { code: exit, ...written }
  } finally {
    Object.assign(process.stdout, { write: kept.stdout })
    Object.assign(process.stderr, { write: kept.stderr })
    process.exitCode = exitCode
  }
}
