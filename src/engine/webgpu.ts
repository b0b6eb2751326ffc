/**
 * Whether ONNX Runtime finds a WebGPU adapter here, whether that has halves, and whether it computes as the CPU does.
 * A graphics driver is somebody else's code in this process, so a child process asks it.
 */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { workerUrl } from '../async/worker-url.js'

export interface WebGpuReport {
  /** An adapter opens and computes right. */
  usable: boolean
  /** Whether it has halves (the default of `--device webgpu`); null where none opens. */
  fp16: boolean | null
  /** Why it is not usable, in words. */
  problem: string | null
}

/** Shaders are compiled on the way; on a slow driver that takes its time. */
const TIMEOUT_MS = 60_000

export function inspectWebGpu(timeoutMs: number = TIMEOUT_MS): Promise<WebGpuReport> {
  return new Promise((resolve) => {
    const child = fork(fileURLToPath(workerUrl('engine/webgpu-probe-worker')), [], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    })
    const fail = (problem: string): void => resolve({ usable: false, fp16: null, problem })
    child.on('message', (report) => resolve(report as WebGpuReport))
    child.on('error', (error) => fail(error.message))
    child.on('exit', (code, signal) => fail(`the driver ended the process (${signal ?? `exit code ${code}`})`))
  })
}
