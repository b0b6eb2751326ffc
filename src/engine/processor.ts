/**
 * The kind of processor, as far as it decides ONNX Runtime's kernels on the CPU: architecture and vector extensions.
 * Kernels of another width add up in another order, so rows that two kinds compute may differ in their last bits.
 */
import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'

/** Vector extensions that change how fast the engine is, in the names of /proc/cpuinfo (x86 and ARM). */
const FEATURES = [
  'avx2',
  'fma',
  'f16c',
  'avx512f',
  'avx512_vnni',
  'avx_vnni',
  'avx512_bf16',
  'amx_tile',
  'amx_int8',
  'amx_bf16',
  'asimd',
  'asimddp',
  'i8mm',
  'bf16',
  'sve',
]

/** The known extensions among the flags of /proc/cpuinfo's text; empty where there is none. */
export function cpuFeatures(cpuinfo: string): string[] {
  const line = /^(?:flags|Features)\s*:(.*)$/m.exec(cpuinfo)?.[1] ?? ''
  const flags = new Set(line.trim().split(/\s+/))
  return FEATURES.filter((name) => flags.has(name))
}

function cpuinfo(): string {
  try {
    return readFileSync('/proc/cpuinfo', 'utf8')
  } catch {
    return ''
  }
}

/** The known extensions of this machine's processor; empty where the system does not list them. */
export function processorFeatures(): string[] {
  return cpuFeatures(cpuinfo())
}

let kind: string | undefined

/** E.g. "x64 avx2 fma avx512f avx512_vnni"; by the model's name where the system does not list extensions. */
export function processorKind(): string {
  const features = processorFeatures()
  const told = features.length > 0 ? features : [cpus()[0]?.model.trim() || 'unknown']
  kind ??= [process.arch, ...told].join(' ')
  return kind
}
