/**
 * From `--device` and `--precision` to what the engine is opened with. `auto` takes NVIDIA's GPUs by CUDA when they
 * can be used, at fp16; else, for the networks of image models, a WebGPU adapter that is shown to be a real GPU and
 * computes right; else the CPU at fp32; nobody gets int8 unasked. It tries what it takes and says what it passed over. A device
 * that is asked for by name and cannot be used is a clear error, never a silent fallback.
 */

import { usageError, VtpError } from '../errors.js'
import type { Precision } from '../model/index.js'
import { effectiveCores } from './cores.js'
import { countGpus, cudaProblem } from './cuda.js'
import { cpuBatch, type Device } from './device.js'
import { GPU_BATCH, LANES_PER_GPU } from './gpu-memory.js'
import { loadRuntime } from './load-runtime.js'
import { type DeviceKind, hasCudaProvider } from './providers.js'
import { findGpuAdapter, useHardwareOnly, type WebGpuReport } from './webgpu.js'

export interface DeviceRequest {
  device: string
  precision: string
  requireGpu: boolean
  /**
   * Whether `auto` may take WebGPU: for encoders, decoders and text towers, which were compared with the reference
   * there. Default false: training, samplers and the networks of metrics were not.
   */
  autoWebGpu?: boolean
}

/** What the machine offers; tests bring a made one. */
export interface DeviceProbes {
  /** Backends whose libraries are inside the npm package. */
  bundled: () => string[]
  hasCuda: () => boolean
  /** Why CUDA cannot compute although provider and GPU are there; null where it does. Asked by `auto` only. */
  cudaProblem: () => string | null
  gpus: () => number
  /** A WebGPU adapter that is a real GPU and computes right. Asked by `auto` only. */
  webgpu: () => WebGpuReport | null
  cores: () => number
}

const thisMachine: DeviceProbes = {
  bundled: () =>
    loadRuntime()
      .listSupportedBackends()
      .filter((backend) => backend.bundled)
      .map((backend) => backend.name),
  hasCuda: hasCudaProvider,
  cudaProblem,
  gpus: countGpus,
  webgpu: findGpuAdapter,
  cores: effectiveCores,
}

/** Which precisions a kind of device has; the first is what `auto` means. */
export const KNOWN_PRECISIONS: Record<DeviceKind, Precision[]> = {
  cpu: ['fp32', 'int8'],
  cuda: ['fp16', 'bf16', 'fp32'],
  webgpu: ['fp16', 'fp32'],
  coreml: ['fp16', 'fp32'],
  dml: ['fp16', 'fp32'],
}

/** Throws usage errors for unknown names, and `gpu_unavailable` when a GPU is asked for and cannot be used. */
export function chooseDevice(request: DeviceRequest, probes: DeviceProbes = thisMachine): Device {
  const match = /^(?:(auto|cpu|webgpu|coreml|dml)|cuda(?::(\d+))?)$/.exec(request.device)
  if (!match) {
    throw usageError('unknown_device', `--device ${request.device} is not known`, [
      'use auto, cpu, cuda (all GPUs) or cuda:1 (one); webgpu, coreml and dml are passed on where ONNX Runtime has them',
    ])
  }
  const gpus = probes.hasCuda() ? probes.gpus() : 0
  const [, named, id] = match
  const found = named === 'auto' ? autoKind(request, probes, gpus) : undefined
  const kind: DeviceKind = found?.kind ?? (named as DeviceKind | undefined) ?? 'cuda'
  assertUsable(kind, request, probes, id === undefined ? undefined : Number(id), gpus)
  const wanted = request.precision === 'auto' ? (found?.precision ?? 'auto') : request.precision
  const precision = choosePrecision('--precision', wanted, kind)
  const cores = probes.cores()
  const ids = id === undefined ? Array.from({ length: gpus }, (_, i) => i) : [Number(id)]
  const names = kind === 'cuda' ? ids.map((i) => `cuda:${i}`) : [kind]
  const lanes = names.flatMap((name) =>
    Array.from({ length: kind === 'cuda' ? LANES_PER_GPU : 1 }, () => (kind === 'cpu' ? ['cpu'] : [name, 'cpu'])),
  )
  const { passedOver } = found ?? {}
  const what = kind === 'cpu' ? `cpu (${cores} core${cores === 1 ? '' : 's'})` : (found?.what ?? names.join(', '))
  return {
    kind,
    precision,
    lanes,
    cores,
    batchSize: kind === 'cpu' ? cpuBatch(cores) : GPU_BATCH,
    summary: `${what}, ${precision}${passedOver ? ` (${passedOver}, see \`vtp doctor\`)` : ''}`,
    passedOver,
  }
}

interface AutoChoice {
  kind: DeviceKind
  /** What `auto` means for the precision, where that is not the kind's first. */
  precision?: Precision
  /** What the summary calls the device, where that is not its name. */
  what?: string
  passedOver?: string
}

/** CUDA where it computes, else a real GPU by WebGPU, else the CPU. With --require-gpu the CPU is no answer: the reason is. */
function autoKind(request: DeviceRequest, probes: DeviceProbes, gpus: number): AutoChoice {
  const problem = gpus > 0 && !request.requireGpu ? probes.cudaProblem() : null
  if (gpus > 0 && problem === null) return { kind: 'cuda' }
  const passedOver = problem === null ? undefined : `not CUDA: ${problem}`
  const asked = request.precision
  const offered = asked === 'auto' || KNOWN_PRECISIONS.webgpu.some((precision) => precision === asked)
  const report = request.autoWebGpu && offered && probes.bundled().includes('webgpu') ? probes.webgpu() : null
  if (report && (report.fp16 || asked !== 'fp16')) {
    useHardwareOnly()
    const what = `webgpu (${report.adapter?.name ?? 'a GPU'})`
    return { kind: 'webgpu', precision: report.fp16 ? 'fp16' : 'fp32', what, passedOver }
  }
  return { kind: request.requireGpu ? 'cuda' : 'cpu', passedOver }
}

function assertUsable(
  kind: DeviceKind,
  request: DeviceRequest,
  probes: DeviceProbes,
  id: number | undefined,
  gpus: number,
): void {
  const refuse = (why: string): never => {
    throw new VtpError(`A GPU is asked for, but ${why}`, {
      code: 'gpu_unavailable',
      suggestions: ['run `vtp doctor`: it says what is missing', 'leave --device and --require-gpu out to use the CPU'],
    })
  }
  if (kind === 'cpu' && request.requireGpu) refuse('--device cpu is given as well')
  if (kind === 'cuda') {
    if (!probes.hasCuda()) refuse('the installed ONNX Runtime has no CUDA provider')
    if (gpus === 0) refuse('the driver shows no NVIDIA GPU')
    if (id !== undefined && id >= gpus) refuse(`there is no cuda:${id} (GPUs: ${gpus}, counted from 0)`)
  } else if (kind !== 'cpu' && !probes.bundled().includes(kind)) {
    refuse(`the installed ONNX Runtime has no ${kind} provider on this system`)
  }
}

/** The precision that a flag asks of a kind of device. Throws usage errors for unknown ones, and those it has not. */
export function choosePrecision(flag: string, name: string, kind: DeviceKind): Precision {
  const possible = KNOWN_PRECISIONS[kind]
  if (name === 'auto') return possible[0]!
  const found = possible.find((precision) => precision === name)
  if (found) return found
  const all = [...new Set(Object.values(KNOWN_PRECISIONS).flat())] as string[]
  if (!all.includes(name)) {
    throw usageError('unknown_precision', `${flag} ${name} is not known`, [`use auto, ${all.sort().join(', ')}`])
  }
  throw usageError('precision_unavailable', `${flag} ${name} is not offered on the device ${kind}`, [
    `use auto, ${possible.join(' or ')}`,
  ])
}
