/**
 * Switches off the telemetry that ONNX Runtime's Linux library brings: it would keep a device id and a database of
 * events in the home folder, leave files in the temporary one and ask for Microsoft's collector. The library looks
 * at the process's own environment when it is loaded, so this comes before it (load-runtime.ts) and before any
 * worker thread is started: a thread's `process.env` is a copy that native code does not see.
 */
export function switchTelemetryOff(): void {
  process.env.ORT_DISABLE_TELEMETRY = '1'
}
