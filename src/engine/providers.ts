/**
 * Names of devices, and what ONNX Runtime wants to hear for them. A provider is written as one string
 * (`cpu`, `cuda:1`, `webgpu`), so that it crosses threads and fits into a summary.
 */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { onnxRuntimeFolder, PROVIDER_LIBRARIES } from './cuda.js'

/** `webgpu`, `coreml` and `dml` are passed on where this build of ONNX Runtime has them; each is checked when it opens (attention-check.ts). */
export const DEVICE_KINDS = ['cpu', 'cuda', 'webgpu', 'coreml', 'dml'] as const
export type DeviceKind = (typeof DEVICE_KINDS)[number]

export type ProviderOption = string | { name: string; deviceId: number }

/** `cuda:1` → { name: 'cuda', deviceId: 1 }. */
export function providerOption(provider: string): ProviderOption {
  const [name = '', id] = provider.split(':')
  return id === undefined ? name : { name, deviceId: Number(id) }
}

/** Whether the libraries of ONNX Runtime's CUDA provider lie beside its binding; the npm package leaves them out. */
export function hasCudaProvider(folder: string = onnxRuntimeFolder()): boolean {
  return PROVIDER_LIBRARIES.every((name) => existsSync(path.join(folder, name)))
}
