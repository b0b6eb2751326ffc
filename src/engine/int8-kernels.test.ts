import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { tempDir } from '../../test/support/cli.js'
import { GraphBuilder } from '../graph/builder.js'
import { addProduct, type Linear } from '../graph/linear.js'
import { openSession } from './session.js'

/**
 * Where a processor has no dot products of bytes, pairs of products of 255 · 127 overflow the 16 bits in which
 * ONNX Runtime's kernel for signed weights adds them up.
 */
it('an int8 product is exact on every processor, however large its partial sums', async () => {
  const [inner, outer, rows] = [64, 48, 5]
  const weights = Array.from({ length: inner * outer }, (_, i) => (i % outer < 24 ? 127 : ((i * 37) % 255) - 127))
  const graph = new GraphBuilder()
  const values = graph.input({ name: 'rows', dtype: 'uint8', shape: ['N', inner] })
  const linear: Linear = {
    weight: graph.constant(weights, [inner, outer], 'int8'),
    columns: graph.constant(new Float32Array(outer).fill(1), [outer]),
  }
  const product = addProduct(graph, { values, scale: graph.scalar(1) }, linear)
  graph.output(product, { name: 'product', dtype: 'float32', shape: ['N', outer] })
  const file = path.join(tempDir(), 'product.onnx')
  writeFileSync(file, graph.encode('none'))

  // Rows of the largest value, of the smallest, and of everything in between.
  const data = Uint8Array.from({ length: rows * inner }, (_, i) =>
    i < inner ? 255 : i < 2 * inner ? 0 : (i * 91) % 256,
  )
  const expected = Float32Array.from({ length: rows * outer }, (_, at) => {
    const [m, n] = [Math.floor(at / outer), at % outer]
    let sum = 0
    for (let k = 0; k < inner; k++) sum += (data[m * inner + k]! - 128) * weights[k * outer + n]!
    return sum
  })
  const session = await openSession({ path: file, providers: ['cpu'], threads: 2 })
  const { outputs } = await session.run({ rows: { data: data.slice(), dtype: 'uint8', dims: [rows, inner] } })
  await session.close()
  expect(outputs.product!.data).toEqual(expected)
})
