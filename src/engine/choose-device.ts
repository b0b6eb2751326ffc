/**
 * From `--device` and `--precision` to what the engine is opened with. `auto` is fp32 on the CPU here;
 * a device that this build cannot use is a clear error, never a silent fallback.
 */
import { listSupportedBackends } from 'onnxruntime-node'
import { usageError, VtpError } from '../errors.js'
import { effectiveCores } from './cores.js'

export interface ChosenDevice {
  kind: 'cpu' | 'cuda'
  precision: string
  /** Execution providers in order, as ONNX Runtime names them. */
  providers: string[]
  cores: number
  /** Images per pass that suit the device. */
  batchSize: number
  /** One line for people, e.g. "cpu (2 cores), fp32". */
  summary: string
}

export interface DeviceRequest {
  device: string
  precision: string
  requireGpu: boolean
}

const CPU_BATCH = 16

/** Throws usage errors for unknown names, and `gpu_unavailable` when a GPU is asked for and cannot be used. */
export function chooseDevice({ device, precision, requireGpu }: DeviceRequest): ChosenDevice {
  if (!/^(auto|cpu|cuda(:\d+)?)$/.test(device)) {
    throw usageError('unknown_device', `--device ${device} is not known`, ['use auto, cpu, cuda or cuda:1'])
  }
  if (precision !== 'auto' && precision !== 'fp32') {
    throw usageError('unknown_precision', `--precision ${precision} is not known`, ['use auto or fp32'])
  }
  const hasCuda = listSupportedBackends().some((backend) => backend.name === 'cuda' && backend.bundled)
  if ((device.startsWith('cuda') || requireGpu) && !hasCuda) {
    throw new VtpError('A GPU is asked for, but the installed ONNX Runtime has no CUDA provider', {
      code: 'gpu_unavailable',
      suggestions: ['run `vtp doctor`: it says what is missing', 'leave --device and --require-gpu out to use the CPU'],
    })
  }
  const cores = effectiveCores()
  const id = Number(/:(\d+)$/.exec(device)?.[1] ?? 0)
  const useCuda = device.startsWith('cuda')
  return {
    kind: useCuda ? 'cuda' : 'cpu',
    precision: 'fp32',
    providers: useCuda ? [`cuda:${id}`] : ['cpu'],
    cores,
    batchSize: CPU_BATCH,
    summary: `${useCuda ? `cuda:${id}` : `cpu (${cores} core${cores === 1 ? '' : 's'})`}, fp32`,
  }
}
