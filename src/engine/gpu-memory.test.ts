import { describe, expect, it } from 'vitest'
import type { Precision } from '../model/index.js'
import { blockActivations, networkLoad } from '../model/memory.js'
import { fitBatch, fitLanes, freeGpuMemory } from './gpu-memory.js'

const GB = 2 ** 30
/** VTP-L's encoder. */
const large = (size: number, precision: Precision) => {
  const activations = blockActivations({ tokens: (size / 16) ** 2 + 1, dim: 1024, hidden: 2736 })
  return networkLoad({ weights: 304e6, activations, image: { height: size, width: size } }, precision)
}
const load = large(256, 'fp16')
const twoPerGpu = (...ids: number[]): string[][] =>
  ids.flatMap((id) => [
    [`cuda:${id}`, 'cpu'],
    [`cuda:${id}`, 'cpu'],
  ])

describe('batches on a GPU', () => {
  it('are as large as wanted where memory is plenty or not known', () => {
    expect(fitBatch(128, 80 * GB, 2, load)).toBe(128)
    expect(fitBatch(128, null, 2, load)).toBe(128)
  })
  it('are halved until two sessions fit, down to one image', () => {
    const sizes = [24, 8, 6, 4, 3, 2, 1].map((free) => fitBatch(128, free * GB, 2, load))
    expect(sizes).toEqual([...sizes].sort((a, b) => b - a))
    expect(sizes.every((size) => Number.isInteger(Math.log2(size)))).toBe(true)
    expect(sizes[0]).toBe(128)
    expect(sizes[3]).toBeLessThan(128)
    expect(sizes.at(-1)).toBe(1)
    const used = (rows: number): number => 2 * (load.weightBytes + rows * load.rowBytes)
    expect(used(sizes[3]!)).toBeLessThan(4 * GB)
  })
  it('are smaller for larger images and wider numbers', () => {
    const at = (size: number, precision: Precision): number => fitBatch(128, 16 * GB, 2, large(size, precision))
    expect(at(512, 'fp16')).toBeLessThan(at(256, 'fp16'))
    expect(at(512, 'fp32')).toBeLessThan(at(512, 'fp16'))
  })
  it('are what fits on the fullest GPU in use, and others do not matter', () => {
    const free = [80 * GB, 3 * GB, null]
    expect(fitLanes(128, twoPerGpu(0), free, load)).toBe(128)
    expect(fitLanes(128, twoPerGpu(0, 1), free, load)).toBe(fitBatch(128, 3 * GB, 2, load))
    expect(fitLanes(128, twoPerGpu(0, 2, 7), free, load)).toBe(128)
    expect(fitLanes(8, [['cpu']], [], load)).toBe(8)
  })
})

it('free memory follows the order of CUDA_VISIBLE_DEVICES', async () => {
  const query = async (): Promise<string> => '0, GPU-aa11, 1000\n1, GPU-bb22, 2000\n2, GPU-cc33, [N/A]\n'
  const MiB = 2 ** 20
  expect(await freeGpuMemory(query, undefined)).toEqual([1000 * MiB, 2000 * MiB, null])
  expect(await freeGpuMemory(query, '1,0')).toEqual([2000 * MiB, 1000 * MiB])
  expect(await freeGpuMemory(query, 'GPU-bb22,2,9')).toEqual([2000 * MiB, null, null])
  expect(await freeGpuMemory(async () => undefined, undefined)).toEqual([])
})
