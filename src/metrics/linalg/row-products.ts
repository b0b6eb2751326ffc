/**
 * Sums of products of rows, S + X·Xᵀ, by ONNX Runtime. They are symmetric: the lower triangle alone is
 * computed, in panels of consecutive rows, each as wide as its last row. X is carried over once for all panels.
 */
import { createHash } from 'node:crypto'
import { openSession, type TensorValue } from '../../engine/session.js'
import { compileGraph } from '../../graph/compile.js'
import type { Matrix } from './matrix.js'

const PANELS = 4

/** Panel p is [end − start, end] for the rows from start to before end. */
export function panelsOf(n: number): { start: number; end: number }[] {
  const size = Math.ceil(n / PANELS)
  return Array.from({ length: PANELS }, (_, p) => ({ start: Math.min(n, p * size), end: Math.min(n, (p + 1) * size) }))
}

export interface RowProducts {
  /** The panels of S + X·Xᵀ. Takes the arguments' memory away. */
  add(panels: Float64Array[], x: Matrix): Promise<Float64Array[]>
  close(): Promise<void>
}

export async function openRowProducts(cacheDir: string, threads: number): Promise<RowProducts> {
  const graph = await compileGraph({
    cacheDir,
    modelDigest: createHash('sha256').update('products').digest('hex'),
    tower: 'row-products',
    spec: { panels: PANELS },
    build: async (builder) => {
      const x = builder.input({ name: 'x', dtype: 'float64', shape: ['N', 'K'] })
      const parts = builder.ops('Split', [x], PANELS, { axis: 0, num_outputs: PANELS })
      for (const [p, part] of parts.entries()) {
        const shape = [`M${p}`, `N${p}`]
        const sum = builder.input({ name: `s${p}`, dtype: 'float64', shape })
        const upTo = p === PANELS - 1 ? x : builder.op('Concat', parts.slice(0, p + 1), { axis: 0 })
        builder.output(builder.op('Gemm', [part, upTo, sum], { transB: 1 }), { name: `y${p}`, dtype: 'float64', shape })
      }
    },
  })
  const session = await openSession({ path: graph.path, providers: ['cpu'], threads })
  return {
    async add(panels, { rows, columns, data }) {
      const inputs: Record<string, TensorValue> = { x: { data, dtype: 'float64', dims: [rows, columns] } }
      for (const [p, { start, end }] of panelsOf(rows).entries())
        inputs[`s${p}`] = { data: panels[p]!, dtype: 'float64', dims: [end - start, end] }
      const { outputs } = await session.run(inputs)
      return panels.map((_, p) => outputs[`y${p}`]!.data as Float64Array)
    },
    close: () => session.close(),
  }
}
