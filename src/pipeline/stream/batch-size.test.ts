import { expect, it } from 'vitest'
import { cpuDevice, type Device } from '../../engine/device.js'
import { blockActivations, networkLoad } from '../../model/memory.js'
import type { EncodeRequest } from '../encode-request.js'
import { withBatchSize } from './batch-size.js'

const activations = blockActivations({ tokens: 257, dim: 1024, hidden: 2736 })
const load = networkLoad({ weights: 304e6, activations, image: { height: 256, width: 256 } }, 'fp16')
const prepared = {
  plan: { precision: 'fp16', units: [{ rows: 1000 }, { rows: 3 }] },
  model: { encoderLoad: () => load },
  source: { kind: 'folder' },
  transform: { height: 256, width: 256 },
} as unknown as Parameters<typeof withBatchSize>[0]
const gpu = (freeGibibytes: number): Device => ({
  ...cpuDevice({ cores: 4 }),
  kind: 'cuda',
  lanes: [['cuda:0', 'cpu']],
  freeMemory: async () => [freeGibibytes * 2 ** 30],
})
const request = (changes: Partial<EncodeRequest>): EncodeRequest =>
  ({ batchSize: 128, fitsBatch: true, engine: gpu(80), ...changes }) as EncodeRequest

it('a batch that nobody asked for fits into the free memory of the GPU, and people are told', async () => {
  const notes: string[] = []
  const onNote = (line: string): number => notes.push(line)
  const small = await withBatchSize(prepared, request({ onNote, engine: gpu(2.5) }))
  expect(small.batchSize).toBeLessThan(128)
  expect(notes).toEqual([`batches of ${small.batchSize}: more would not fit into the GPU's free memory`])
  expect((await withBatchSize(prepared, request({ onNote, engine: gpu(40) }))).batchSize).toBe(128)
  expect(notes).toHaveLength(1)
})

it('a batch that was asked for stays as it is, and so does one on a CPU', async () => {
  expect((await withBatchSize(prepared, request({ fitsBatch: false, engine: gpu(1) }))).batchSize).toBe(128)
  const engine = { ...cpuDevice({ cores: 4 }), freeMemory: () => expect.fail('no GPU is looked at') }
  expect((await withBatchSize(prepared, request({ engine, batchSize: 8 }))).batchSize).toBe(8)
})

it('a pass is not larger than there are images', async () => {
  const few = { ...prepared, plan: { ...prepared.plan, units: [{ rows: 1 }] } } as typeof prepared
  expect((await withBatchSize(few, request({ engine: cpuDevice({ cores: 4 }), batchSize: 8 }))).batchSize).toBe(1)
})

it('texts go in larger batches than images', async () => {
  const texts = { ...prepared, source: { kind: 'text' } } as typeof prepared
  expect((await withBatchSize(texts, request({ engine: cpuDevice({ cores: 2 }), batchSize: 4 }))).batchSize).toBe(256)
  expect((await withBatchSize(texts, request({}))).batchSize).toBe(256)
  expect((await withBatchSize(texts, request({ batchSize: 4, fitsBatch: false }))).batchSize).toBe(4)
})
