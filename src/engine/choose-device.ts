/**
 * From `--device` and `--precision` to what the engine is opened with. `auto` takes the GPUs when they can
 * be used, at fp16, and else the CPU at fp32; nobody gets int8 unasked. A device that this build cannot use
 * is a clear error, never a silent fallback.
 */

import { usageError, VtpError } from '../errors.js'
import type { Precision } from '../model/index.js'
import { effectiveCores } from './cores.js'
import { countGpus, hasCudnn } from './cuda.js'
import { cpuBatch, type Device } from './device.js'
import { GPU_BATCH, LANES_PER_GPU } from './gpu-memory.js'
import { loadRuntime } from './load-runtime.js'
import { type DeviceKind, hasCudaProvider } from './providers.js'

export interface DeviceRequest {
  device: string
  precision: string
  requireGpu: boolean
}

/** What the machine offers; tests bring a made one. */
export interface DeviceProbes {
  /** Backends whose libraries are inside the npm package. */
  bundled: () => string[]
  hasCuda: () => boolean
  hasCudnn: () => boolean
  gpus: () => number
  cores: () => number
}

const thisMachine: DeviceProbes = {
  bundled: () =>
    loadRuntime()
      .listSupportedBackends()
      .filter((backend) => backend.bundled)
      .map((backend) => backend.name),
  hasCuda: hasCudaProvider,
  hasCudnn,
  gpus: countGpus,
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
  // Without cuDNN the provider fails when it opens: `auto` works on, and says what is missing.
  const lacksCudnn = named === 'auto' && !request.requireGpu && gpus > 0 && !probes.hasCudnn()
  const usable = gpus > 0 && !lacksCudnn
  const kind: DeviceKind =
    named === 'auto' ? (usable || request.requireGpu ? 'cuda' : 'cpu') : ((named as DeviceKind | undefined) ?? 'cuda')
  assertUsable(kind, request, probes, id === undefined ? undefined : Number(id), gpus)
  const precision = choosePrecision('--precision', request.precision, kind)
  const cores = probes.cores()
  const ids = id === undefined ? Array.from({ length: gpus }, (_, i) => i) : [Number(id)]
  const names = kind === 'cuda' ? ids.map((i) => `cuda:${i}`) : [kind]
  const lanes = names.flatMap((name) =>
    Array.from({ length: kind === 'cuda' ? LANES_PER_GPU : 1 }, () => (kind === 'cpu' ? ['cpu'] : [name, 'cpu'])),
  )
  const what = kind === 'cpu' ? `cpu (${cores} core${cores === 1 ? '' : 's'})` : names.join(', ')
  return {
    kind,
    precision,
    lanes,
    cores,
    batchSize: kind === 'cpu' ? cpuBatch(cores) : GPU_BATCH,
    summary: `${what}, ${precision}${lacksCudnn ? ' (not the GPU: cuDNN 9 is missing, see `vtp doctor`)' : ''}`,
  }
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
