/**
 * What computes, as one object: every function that opens a network takes it whole. choose-device.ts makes it from
 * flags; programs and tests may use `cpuDevice`.
 */
import type { MemoryLoad, Precision } from '../model/index.js'
import { effectiveCores } from './cores.js'
import { fitLanes, freeGpuMemory } from './gpu-memory.js'
import type { DeviceKind } from './providers.js'

export interface Device {
  readonly kind: DeviceKind
  /** Arithmetic of networks that nobody asks another one for. */
  readonly precision: Precision
  /**
   * Execution providers, in order, of every session that runs at once: one lane on a CPU (which session-pool.ts
   * multiplies), two per GPU, so that one copies while one computes.
   */
  readonly lanes: readonly (readonly string[])[]
  readonly cores: number
  /** Rows per pass that suit the device; its free memory may ask for fewer (`chooseBatch`). */
  readonly batchSize: number
  /** One line for people, e.g. "cpu (2 cores), fp32". */
  readonly summary: string
  /** What `--device auto` passed over, and why, e.g. "not CUDA: cuDNN 9 is missing". */
  readonly passedOver?: string
  /** Free bytes of every GPU, in CUDA's order; null where nobody says. Default: nvidia-smi's answer. */
  freeMemory?(): Promise<(number | null)[]>
}

/** Rows per pass on a CPU: two per core, because the activations of more leave the caches. */
export const cpuBatch = (cores: number): number => Math.min(64, Math.max(4, 2 * cores))

/** The CPU, with all cores that this process may use or with `cores` of them. */
export function cpuDevice({ cores = effectiveCores(), precision = 'fp32' as Precision } = {}): Device {
  const summary = `cpu (${cores} core${cores === 1 ? '' : 's'}), ${precision}`
  return { kind: 'cpu', precision, lanes: [['cpu']], cores, batchSize: cpuBatch(cores), summary }
}

/** The provider that computes, for protocols: `cpu`, `cuda:0`. */
export function firstProvider({ lanes }: Device): string {
  return lanes[0]![0]!
}

/** Intra-op threads of a lane. On a GPU the cores belong to preprocessing. */
export function laneThreads({ kind, cores }: Device): number {
  return kind === 'cpu' ? cores : 1
}

/** Runs that keep every lane of the device busy: one in each, and one that waits. */
export function runsInFlight({ lanes }: Device): number {
  return lanes.length + 1
}

export interface BatchChoice {
  /** Rows that somebody asked for: they are taken as they are. */
  asked?: number
  /** Rows that suit the network, where that is not the device's number. */
  most?: number
  onNote?: (line: string) => void
}

/** Rows per pass: what was asked for, else what suits the device and, on GPUs, fits into their free memory. */
export async function chooseBatch(device: Device, load: MemoryLoad, choice: BatchChoice = {}): Promise<number> {
  if (choice.asked !== undefined) return choice.asked
  const most = choice.most ?? device.batchSize
  if (!device.lanes.some(([first]) => first?.startsWith('cuda'))) return most
  const fitting = fitLanes(most, device.lanes, await (device.freeMemory ?? freeGpuMemory)(), load)
  if (fitting < most) choice.onNote?.(`batches of ${fitting}: more would not fit into the GPU's free memory`)
  return fitting
}
