/** ONNX Runtime's names, for code that runs graphs in its own thread. */
import { loadRuntime, type Runtime } from './load-runtime.js'

export const { env, InferenceSession, Tensor } = loadRuntime()
export type InferenceSession = Runtime.InferenceSession
export type SessionOptions = Runtime.InferenceSession.SessionOptions
export type Tensor = Runtime.Tensor
