/** WebAssembly modules that this package carries as base64 (built by scripts/build-wasm.mjs). */

/** The part of WebAssembly's JavaScript interface that is used here (the types of Node lack it). */
interface WebAssemblyApi {
  Module: new (bytes: Uint8Array) => object
  Instance: new (module: object) => { exports: unknown }
}

export interface WasmMemory {
  readonly buffer: ArrayBuffer
  grow(pages: number): number
}

const PAGE_BYTES = 65536

/** A new instance, with a memory of its own. Throws where there are no 128-bit vectors, or no WebAssembly. */
export function instantiateWasm<Exports>(base64: string): Exports {
  const { Instance, Module } = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly
  return new Instance(new Module(Buffer.from(base64, 'base64'))).exports as Exports
}

/** The thread's one instance, made when it is first asked for; undefined where WebAssembly's vectors are missing. */
export function onceWasm<Exports>(base64: string): () => Exports | undefined {
  let loaded: { exports: Exports | undefined } | undefined
  const load = (): Exports | undefined => {
    try {
      return instantiateWasm<Exports>(base64)
    } catch {
      return undefined
    }
  }
  return () => {
    loaded ??= { exports: load() }
    return loaded.exports
  }
}

/** Grows the memory to at least so many bytes; what is new holds zeros. */
export function ensureMemory(memory: WasmMemory, bytes: number): void {
  const missing = bytes - memory.buffer.byteLength
  if (missing > 0) memory.grow(Math.ceil(missing / PAGE_BYTES))
}
