/**
 * Whether an execution provider opens here and computes. A driver is somebody else's code, which may crash or hang, so
 * a child process tries it.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { workerUrl } from '../async/worker-url.js'

export interface ProviderReport {
  /** It opens and computes right. */
  usable: boolean
  /** Whether it has halves; null where it does not open. */
  fp16: boolean | null
  /** Why it is not usable, in words. */
  problem: string | null
  /** Libraries that were loaded while it was open; empty where the system does not tell (elsewhere than on Linux). */
  libraries: string[]
  /** Devices (`/dev/…`) that were held open; empty likewise. */
  nodes: string[]
}

/** Shaders are compiled on the way; on a slow driver that takes its time. */
const TIMEOUT_MS = 60_000

/** Tries a provider (`webgpu`, `cuda:0`), with further variables of the environment. Never throws; takes seconds. */
export function probeProvider(
  provider: string,
  { env = {}, timeoutMs = TIMEOUT_MS }: { env?: Record<string, string>; timeoutMs?: number } = {},
): ProviderReport {
  const { output, status, signal, error } = spawnSync(
    process.execPath,
    [fileURLToPath(workerUrl('engine/provider-probe-worker')), provider],
    {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
      encoding: 'utf8',
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    },
  )
  const answer = output?.[3]
  if (answer) {
    const report = JSON.parse(answer) as ProviderReport
    // Why a library was not loaded stands in ONNX Runtime's log, not in its error.
    const [, why] = report.problem === null ? [] : (/with error: ([^\n]+)/.exec(output[2] ?? '') ?? [])
    return why === undefined ? report : { ...report, problem: why.trim() }
  }
  const timedOut = (error as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT'
  const why = timedOut ? `no answer in ${timeoutMs / 1000} s` : `${signal ?? `exit code ${status}`}`
  const problem = timedOut ? `the driver hangs (${why})` : `the driver ended the process (${why})`
  return { usable: false, fp16: null, problem, libraries: [], nodes: [] }
}
