/**
 * Whether ONNX Runtime finds a WebGPU adapter here, which one, whether that has halves, and whether it computes as the
 * CPU does.
 */
import { spawnSync } from 'node:child_process'
import { probeProvider } from './provider-probe.js'
import { linuxAdapter, macAdapter, NOT_HARDWARE, showsGpu, type WebGpuAdapter } from './webgpu-adapter.js'

export interface WebGpuReport {
  /** An adapter opens and computes right. */
  usable: boolean
  /** Whether it has halves (the default of `--device webgpu`); null where none opens. */
  fp16: boolean | null
  /** Why it is not usable, in words. */
  problem: string | null
  /** What computes; null where none opens. */
  adapter: WebGpuAdapter | null
}

/** The variable by which the Vulkan loader leaves drivers out. */
const LEAVE_OUT = 'VK_LOADER_DRIVERS_DISABLE'

function hardwareOnly(): string {
  const own = process.env[LEAVE_OUT]
  return own ? `${own},${NOT_HARDWARE}` : NOT_HARDWARE
}

function probe(env: Record<string, string> = {}): WebGpuReport {
  const { libraries, nodes, ...report } = probeProvider('webgpu', { env })
  return { ...report, adapter: report.fp16 === null ? null : adapterOf({ libraries, nodes }) }
}

function adapterOf(traces: { libraries: string[]; nodes: string[] }): WebGpuAdapter {
  if (process.platform === 'linux') return linuxAdapter(traces)
  if (process.platform !== 'darwin') return { name: null, kind: 'unknown' }
  const options = { encoding: 'utf8', timeout: 10_000 } as const
  return macAdapter(spawnSync('system_profiler', ['SPDisplaysDataType', '-json'], options).stdout ?? '')
}

/** A real GPU that computes right, shown to be one; null where there is none, or none can be shown. Takes seconds where there is one. */
export function findGpuAdapter(): WebGpuReport | null {
  if (!showsGpu()) return null
  const report = probe({ [LEAVE_OUT]: hardwareOnly() })
  return report.usable && report.adapter?.kind === 'gpu' ? report : null
}

/** Keeps Vulkan drivers in software out of this process, so that sessions open on what `findGpuAdapter` has tried. */
export function useHardwareOnly(): void {
  process.env[LEAVE_OUT] = hardwareOnly()
}

/** What `--device webgpu` meets here. Dawn sorts adapters by power, so that a real GPU comes before one in software. */
export function inspectWebGpu(): WebGpuReport {
  return findGpuAdapter() ?? probe()
}
