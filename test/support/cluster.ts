/** Several workers of one run as processes that die, come back, and come back from the dead. */
import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { binPath, repoRoot } from './cli.js'
import { random } from './random.js'

export interface ClusterOptions {
  /** Arguments of every worker, without its place. */
  args: string[]
  env: Record<string, string>
  workers: number
  /** Times that each worker is killed (-9) and started again, at most. */
  kills: number
  /** Whether the work is far enough for a worker's next signal, looked at while it runs; true when not given. */
  reached?: (worker: number) => boolean
  /** Milliseconds from there until a kill: uniform between these. */
  killAfterMs: [number, number]
  /** One worker is stopped (SIGSTOP) until the others have done everything, and then goes on. */
  zombie: boolean
  timeoutMs?: number
}

export interface ClusterResult {
  /** Kills that hit a running worker. */
  killed: number
  /** Whether a stopped worker was there to go on. */
  revived: boolean
  /** Exit code and stderr of each worker's last process. */
  ends: { code: number | null; stderr: string }[]
}

interface Running {
  child: ChildProcess
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null; stderr: string }>
}

function start(args: string[], env: Record<string, string>): Running {
  const all: NodeJS.ProcessEnv = { ...process.env, ...env }
  for (const name of Object.keys(all)) if (name.startsWith('VITEST') || name === 'NODE_OPTIONS') delete all[name]
  const child = spawn(process.execPath, [binPath, ...args], {
    env: all,
    cwd: repoRoot,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let stderr = ''
  child.stderr!.on('data', (chunk) => {
    stderr += chunk
  })
  const ended = new Promise<Awaited<Running['ended']>>((resolve) =>
    child.once('close', (code, signal) => resolve({ code, signal, stderr })),
  )
  return { child, ended }
}

const between = ([low, high]: [number, number]): number => low + random() * (high - low)

/** Runs until every worker has ended by itself. Kills that come too late for a fast worker are not counted. */
export async function runCluster(options: ClusterOptions): Promise<ClusterResult> {
  const result: ClusterResult = { killed: 0, revived: false, ends: [] }
  const deadline = Date.now() + (options.timeoutMs ?? 300_000)
  const place = (index: number): string[] => [
    ...options.args,
    '--worker-index',
    String(index),
    '--worker-count',
    String(options.workers),
  ]

  async function moment(index: number, child: ChildProcess): Promise<void> {
    while (child.exitCode === null && options.reached && !options.reached(index)) await sleep(4)
    await sleep(between(options.killAfterMs))
  }

  async function live(index: number): Promise<{ code: number | null; stderr: string }> {
    for (let kill = 0; ; kill++) {
      const { child, ended } = start(place(index), options.env)
      const last = kill >= options.kills
      const timer = setTimeout(() => child.kill('SIGKILL'), Math.max(0, deadline - Date.now()))
      if (!last) void moment(index, child).then(() => child.kill('SIGKILL'))
      const end = await ended
      clearTimeout(timer)
      if (end.signal !== 'SIGKILL' || last) return end
      result.killed++
    }
  }

  async function liveAsZombie(
    index: number,
    othersDone: Promise<unknown>,
  ): Promise<{ code: number | null; stderr: string }> {
    const { child, ended } = start(place(index), options.env)
    await moment(index, child)
    if (child.exitCode === null) {
      child.kill('SIGSTOP')
      await othersDone
      child.kill('SIGCONT')
      result.revived = true
    }
    return ended
  }

  const normal = Array.from({ length: options.zombie ? options.workers - 1 : options.workers }, (_, i) => live(i))
  const zombie = options.zombie ? [liveAsZombie(options.workers - 1, Promise.all(normal))] : []
  result.ends = await Promise.all([...normal, ...zombie])
  return result
}
