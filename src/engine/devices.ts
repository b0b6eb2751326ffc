/**
 * What this machine has and what of it the engine will use: cores, memory, vector instructions, ONNX
 * Runtime's providers, the GPU. For `vtp doctor`; it reads and reports, and changes nothing.
 */
import { createRequire } from 'node:module'
import { availableParallelism, cpus, freemem, totalmem } from 'node:os'
import { errorText } from '../errors.js'
import { cgroupLimits } from './cgroup.js'
import { effectiveCores } from './cores.js'
import { type CudaReport, inspectCuda } from './cuda.js'
import { loadRuntime } from './load-runtime.js'
import { processorFeatures } from './processor.js'
import { inspectWebGpu, type WebGpuReport } from './webgpu.js'

export interface CpuReport {
  model: string
  /** Logical processors of the machine. */
  logical: number
  /** Those that this process may run on. */
  allowed: number
  /** Quota of the control group, in cores; null without one. */
  quota: number | null
  /** What is used: the smaller of the two, at least 1. */
  cores: number
  /** Vector instructions that ONNX Runtime has code for, e.g. avx512f, avx512_vnni, amx_int8. */
  features: string[]
  /** What multiplies 8-bit integers; null where the system does not tell. */
  int8: Int8Unit | null
}

/** Matrices at once (AMX, ARM's i8mm), dot products of bytes (VNNI, ARM's asimddp), or neither: int8 gains little there. */
export type Int8Unit = 'matrix' | 'dot' | 'none'

export interface MemoryReport {
  totalBytes: number
  freeBytes: number
  /** Limit of the control group; null without one. */
  limitBytes: number | null
  /** The smaller of total and limit. */
  usableBytes: number
}

export interface Backend {
  name: string
  /** Whether its libraries come with the npm package. */
  bundled: boolean
}

export interface RuntimeReport {
  version: string
  backends: Backend[]
}

export interface ImageLibraryReport {
  sharp: string
  libvips: string
}

/** A library that cannot be loaded is reported, not thrown. */
export type Loaded<T> = { ok: true; value: T } | { ok: false; error: string }

export interface MachineReport {
  platform: string
  node: string
  cpu: CpuReport
  memory: MemoryReport
  runtime: Loaded<RuntimeReport>
  images: Loaded<ImageLibraryReport>
  cuda: CudaReport
  /** Null where this build of ONNX Runtime has no WebGPU. */
  webgpu: WebGpuReport | null
}

const MATRIX_FEATURES = ['amx_int8', 'i8mm']
const DOT_FEATURES = ['avx512_vnni', 'avx_vnni', 'asimddp']

/** What of the processor multiplies 8-bit integers; null when no feature is known. */
export function int8Unit(features: string[]): Int8Unit | null {
  if (features.length === 0) return null
  const has = (names: string[]): boolean => names.some((name) => features.includes(name))
  return has(MATRIX_FEATURES) ? 'matrix' : has(DOT_FEATURES) ? 'dot' : 'none'
}

async function attempt<T>(load: () => Promise<T>): Promise<Loaded<T>> {
  try {
    return { ok: true, value: await load() }
  } catch (error) {
    return { ok: false, error: errorText(error).split('\n')[0]! }
  }
}

async function inspectRuntime(): Promise<RuntimeReport> {
  const { listSupportedBackends } = loadRuntime()
  const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string }
  return { version, backends: listSupportedBackends().map(({ name, bundled }) => ({ name, bundled })) }
}

async function inspectImageLibrary(): Promise<ImageLibraryReport> {
  const { default: sharp } = await import('sharp')
  return { sharp: sharp.versions.sharp ?? 'unknown', libvips: sharp.versions.vips }
}

/** Looks at this machine. Takes about a second; a GPU's tools and drivers, where there are any, add to it. */
export async function inspectMachine(): Promise<MachineReport> {
  const limits = cgroupLimits()
  const list = cpus()
  const features = processorFeatures()
  const totalBytes = totalmem()
  const limitBytes = limits.memoryBytes ?? null
  const runtime = await attempt(inspectRuntime)
  const hasWebGpu = runtime.ok && runtime.value.backends.some(({ name, bundled }) => name === 'webgpu' && bundled)
  const [images, cuda] = await Promise.all([attempt(inspectImageLibrary), inspectCuda()])
  const webgpu = hasWebGpu ? inspectWebGpu() : null
  return {
    platform: `${process.platform}-${process.arch}`,
    node: process.version,
    cpu: {
      model: list[0]?.model.trim() || 'unknown',
      logical: list.length,
      allowed: availableParallelism(),
      quota: limits.cores ?? null,
      cores: effectiveCores(),
      features,
      int8: int8Unit(features),
    },
    memory: {
      totalBytes,
      freeBytes: freemem(),
      limitBytes,
      usableBytes: Math.min(totalBytes, limitBytes ?? totalBytes),
    },
    runtime,
    images,
    cuda,
    webgpu,
  }
}
