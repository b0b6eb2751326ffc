/**
 * How many images a pass may have on a GPU. What a pass needs is estimated from the model's shapes, what is free
 * comes from nvidia-smi. An estimate is all that it is: where it is too high the device still runs out of memory
 * and batching.ts halves the batch, and it goes down by the same halves, so that few sizes are ever used.
 */
import type { MemoryLoad } from '../model/index.js'
import { queryNvidia } from './cuda.js'

/** Images per pass that fill a GPU. */
export const GPU_BATCH = 128
/** Sessions per GPU: one copies while the other computes. */
export const LANES_PER_GPU = 2

/** CUDA's context and the workspaces of its libraries. */
const RESERVED = 2 ** 30
/** Of the free memory, what may be planned with: other processes also want some. */
const USABLE = 0.9
/** `most`, halved until `lanes` sessions with such batches fit; `most` where the free memory is not known. */
export function fitBatch(most: number, freeBytes: number | null, lanes: number, load: MemoryLoad): number {
  if (freeBytes === null) return most
  const room = (USABLE * freeBytes - RESERVED) / lanes - load.weightBytes
  let rows = most
  while (rows > 1 && rows * load.rowBytes > room) rows = Math.ceil(rows / 2)
  return rows
}

/** Free bytes of every GPU that CUDA shows, in its order; null where nvidia-smi does not say. */
export async function freeGpuMemory(
  query: (fields: string) => Promise<string | undefined> = queryNvidia,
  visible: string | undefined = process.env.CUDA_VISIBLE_DEVICES,
): Promise<(number | null)[]> {
  const gpus = ((await query('index,uuid,memory.free')) ?? '')
    .split('\n')
    .map((line) => line.split(',').map((cell) => cell.trim()))
    .filter((cells) => cells.length === 3)
    .map(([index, uuid, free]) => ({ index, uuid, free: /^\d+$/.test(free!) ? Number(free) * 2 ** 20 : null }))
  if (visible === undefined) return gpus.map(({ free }) => free)
  return visible.split(',').map((id) => {
    const found = gpus.find(
      ({ index, uuid }) => id.trim() === index || (id.trim() !== '' && uuid!.startsWith(id.trim())),
    )
    return found?.free ?? null
  })
}

/** The batch that fits on every GPU of `lanes`, given the free bytes by GPU. */
export function fitLanes(
  most: number,
  lanes: readonly (readonly string[])[],
  free: (number | null)[],
  load: MemoryLoad,
): number {
  const names = lanes.map(([first]) => first!)
  const sizes = [...new Set(names)]
    .map((name) => /^cuda:(\d+)$/.exec(name))
    .filter((match) => match !== null)
    .map(([name, id]) => fitBatch(most, free[Number(id)] ?? null, names.filter((other) => other === name).length, load))
  return Math.min(most, ...sizes)
}
