/** What a file of named tensors offers, whichever container it is; tensor-file.ts opens one. */

export interface TensorFile {
  readonly path: string
  readonly shapes: ReadonlyMap<string, readonly number[]>
  /** Element types as the file calls them: F32 (safetensors), float32 (torch), <f4 (NumPy). */
  readonly dtypes: ReadonlyMap<string, string>
  /** Values in C order, or a range of them, widened to float32. Throws VtpError `bad_dtype` for integers. */
  readFloat32(name: string, range?: { start: number; count: number }): Promise<Float32Array>
  /** Values of an integer tensor. Throws usage error `bad_dtype` for floats. */
  readIntegers(name: string): Promise<number[]>
  close(): Promise<void>
}
