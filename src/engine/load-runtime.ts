/** The one door to ONNX Runtime: nothing else loads its package, so that its telemetry is off before it is loaded. */
import { createRequire } from 'node:module'
import type * as Runtime from 'onnxruntime-node'
import { switchTelemetryOff } from './telemetry-off.js'

export type { Runtime }

const require = createRequire(import.meta.url)

/** Loads the library when it is first called; that takes tens of milliseconds. */
export function loadRuntime(): typeof Runtime {
  switchTelemetryOff()
  return require('onnxruntime-node') as typeof Runtime
}
