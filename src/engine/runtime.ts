/** The one door to ONNX Runtime: nothing else imports its package, so that its telemetry is off before it is loaded. */
import './telemetry-off.js'

export { env, InferenceSession, listSupportedBackends, Tensor } from 'onnxruntime-node'
