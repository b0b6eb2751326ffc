import fc from 'fast-check'
import { expect, it } from 'vitest'
import * as ort from '../engine/runtime.js'
import { GraphBuilder, type Value } from './builder.js'
import { steadyProducts } from './steady-products.js'

interface Given {
  /** Of the first factor; the last one is the inner axis. */
  left: number[]
  columns: number
  transB: boolean
  kind: 'Gemm' | 'MatMul' | 'FusedMatMul'
  /** The first axis is known at run time only. */
  isFree?: boolean
}

function productGraph({ left, columns, transB, kind, isFree }: Given, steady: boolean): Uint8Array {
  const graph = new GraphBuilder()
  const inner = left.at(-1)!
  const shape = isFree ? ['N', ...left.slice(1)] : left
  const a = graph.input({ name: 'a', dtype: 'float32', shape })
  const isTurned = transB && kind !== 'MatMul'
  const b = graph.input({ name: 'b', dtype: 'float32', shape: isTurned ? [columns, inner] : [inner, columns] })
  const attributes = { ...(isTurned && { transB: 1 }), ...(kind !== 'MatMul' && { alpha: { float: 0.5 } }) }
  const out: Value = graph.op(kind, [a, b], attributes, kind === 'FusedMatMul' ? 'com.microsoft' : '')
  if (steady) steadyProducts(graph)
  graph.output(out, { name: 'out', dtype: 'float32', shape: [...shape.slice(0, -1), columns] })
  return graph.encode('')
}

async function run(given: Given, threads: number, steady = true): Promise<Float32Array> {
  const session = await ort.InferenceSession.create(productGraph(given, steady), { intraOpNumThreads: threads })
  const inner = given.left.at(-1)!
  const feed = (count: number, step: number): Float32Array =>
    Float32Array.from({ length: count }, (_, i) => Math.sin(i * step + step))
  const a = feed(
    given.left.reduce((x, y) => x * y, 1),
    0.37,
  )
  const isTurned = given.transB && given.kind !== 'MatMul'
  const { out } = await session.run({
    a: new ort.Tensor('float32', a, given.left),
    b: new ort.Tensor('float32', feed(inner * given.columns, 0.73), [
      ...(isTurned ? [given.columns, inner] : [inner, given.columns]),
    ]),
  })
  await session.release()
  return (out!.data as Float32Array).slice()
}

it('a product of few rows has the same bits on any number of threads, and the numbers that it had', async () => {
  const shape = fc.record({
    rows: fc.integer({ min: 1, max: 100 }),
    tokens: fc.option(fc.integer({ min: 1, max: 3 })),
    inner: fc.constantFrom(64, 129, 300, 512),
    columns: fc.constantFrom(64, 96, 128, 130, 384),
    transB: fc.boolean(),
    kind: fc.constantFrom('Gemm' as const, 'MatMul' as const, 'FusedMatMul' as const),
    isFree: fc.boolean(),
  })
  await fc.assert(
    fc.asyncProperty(shape, async ({ rows, tokens, inner, ...rest }) => {
      const left = tokens === null || rest.kind === 'Gemm' ? [rows, inner] : [rows, tokens, inner]
      const given = { ...rest, left }
      const one = await run(given, 1)
      for (const threads of [2, 3, 8]) expect(await run(given, threads)).toEqual(one)
      const plain = await run(given, 1, false)
      for (const [i, value] of plain.entries()) expect(Math.abs(one[i]! - value)).toBeLessThan(1e-3)
    }),
    { numRuns: 30 },
  )
})

it('that is needed: without it the bits follow the threads', async () => {
  const given: Given = { left: [64, 512], columns: 128, transB: true, kind: 'Gemm' }
  expect(await run(given, 2, false)).not.toEqual(await run(given, 1, false))
})
