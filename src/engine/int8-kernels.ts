/**
 * Whether 8-bit products overflow here. Without dot products of bytes (VNNI, AMX), ONNX Runtime's x86 kernel for
 * signed weights adds two products in 16 bits, and large ones come out too small. Its remedy, the session option
 * `session.x64quantprecision`, makes the weights unsigned; but where the processor has dot products it would only
 * take the fast kernel away. So one small product is tried, and the remedy taken where it comes out wrong.
 */

import { GraphBuilder } from '../graph/builder.js'
import * as ort from './runtime.js'

/** Rows enough that the kernel for matrices is taken, not the one for a single row. */
const SIZE = 16
/** The largest product of unsigned by signed bytes: two of them need 17 bits. */
const [ROW, WEIGHT] = [255, 127]

/** Tries a product whose partial sums need more than 16 bits; takes a few milliseconds. */
export async function overflowsInt8(): Promise<boolean> {
  const graph = new GraphBuilder()
  const rows = graph.input({ name: 'rows', dtype: 'uint8', shape: [SIZE, SIZE] })
  const weight = graph.constant(new Float32Array(SIZE * SIZE).fill(WEIGHT), [SIZE, SIZE], 'int8')
  const sums = graph.op('MatMulIntegerToFloat', [rows, weight, graph.scalar(1), graph.scalar(1)], {}, 'com.microsoft')
  graph.output(sums, { name: 'sums', dtype: 'float32', shape: [SIZE, SIZE] })
  const session = await ort.InferenceSession.create(graph.encode(''), { intraOpNumThreads: 1, interOpNumThreads: 1 })
  try {
    const data = new Uint8Array(SIZE * SIZE).fill(ROW)
    const { sums: result } = await session.run({ rows: new ort.Tensor('uint8', data, [SIZE, SIZE]) })
    return (result!.data as Float32Array).some((sum) => sum !== SIZE * ROW * WEIGHT)
  } finally {
    await session.release()
  }
}
