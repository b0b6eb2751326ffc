import { expect, it } from 'vitest'
import { GraphBuilder } from './builder.js'

const float = (graph: GraphBuilder, name: string, ...shape: (number | string)[]) =>
  graph.input({ name, dtype: 'float32', shape })

it('shapes and element types of values follow from the operators, with a batch of unknown size', () => {
  const graph = new GraphBuilder()
  const image = graph.input({ name: 'image', dtype: 'uint8', shape: ['N', 32, 32, 3] })
  const planes = graph.op('Transpose', [graph.op('Cast', [image], { to: 1 })], { perm: [0, 3, 1, 2] })
  expect(planes).toMatchObject({ dtype: 'float32', shape: ['N', 3, 32, 32] })
  const kernel = graph.constant(new Float32Array(8 * 3 * 3 * 3), [8, 3, 3, 3])
  const map = graph.op('Conv', [planes, kernel], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] })
  expect(map.shape).toEqual(['N', 8, 16, 16])
  const rows = graph.op('Reshape', [map, graph.ints([-1, 8])])
  expect(rows.shape).toEqual(['256*N', 8])
  const back = graph.op('Reshape', [rows, graph.ints([-1, 256, 8])])
  expect(back.shape).toEqual(['N', 256, 8])
  const batch = graph.op('Slice', [graph.op('Shape', [back]), graph.ints([0]), graph.ints([1])])
  const token = graph.op('Expand', [
    graph.constant(new Float32Array(8), [1, 1, 8]),
    graph.op('Concat', [batch, graph.ints([1, 8])], { axis: 0 }),
  ])
  expect(token.shape).toEqual(['N', 1, 8])
  expect(graph.op('Concat', [token, back], { axis: 1 }).shape).toEqual(['N', 257, 8])
  expect(graph.op('ArgMax', [back], { axis: 2, keepdims: 0 })).toMatchObject({ dtype: 'int64', shape: ['N', 256] })
})

it.each<[string, (graph: GraphBuilder) => unknown, RegExp]>([
  [
    'an operator without a rule',
    (g) => g.op('Frobnicate', [float(g, 'x', 2)]),
    /operator Frobnicate is not in the table/,
  ],
  [
    'one of another domain',
    (g) => g.op('QuickGelu', [float(g, 'x', 2)], {}, 'some.domain'),
    /operator some\.domain\.QuickGelu is not in the table/,
  ],
  ['factors that do not fit', (g) => g.op('Gemm', [float(g, 'a', 'N', 3), float(g, 'b', 4, 5)]), /Gemm: .*3 and 4/],
  ['sizes that do not broadcast', (g) => g.op('Add', [float(g, 'a', 'N', 3), float(g, 'b', 4)]), /Add: .*4.*3/],
  [
    'different element types',
    (g) => g.op('Mul', [float(g, 'a', 3), g.input({ name: 'b', dtype: 'int64', shape: [3] })]),
    /Mul: int64 does not go with float32/,
  ],
  ['a reshape of another size', (g) => g.op('Reshape', [float(g, 'a', 2, 3), g.ints([4, 2])]), /Reshape: .*6 and 8/],
  [
    'a shape that is only known at run time',
    (g) => g.op('Reshape', [float(g, 'a', 2, 3), g.input({ name: 's', dtype: 'int64', shape: [2] })]),
    /Reshape: input 1 must be known/,
  ],
  [
    'an output of another type than declared',
    (g) => g.output(float(g, 'a', 'N', 3), { name: 'y', dtype: 'float16', shape: ['N', 3] }),
    /output y is declared as float16 \[N, 3\], but it is float32 \[N, 3\]/,
  ],
  [
    'an output of another size than declared',
    (g) => g.output(float(g, 'a', 'N', 3), { name: 'y', dtype: 'float32', shape: ['N', 4] }),
    /output y/,
  ],
  [
    'an output that was not wanted, as an input',
    (g) => {
      const [, second] = g.ops('Split', [float(g, 'a', 4)], 2, { axis: 0, num_outputs: 2 }, '', [true, false])
      g.op('Abs', [second])
    },
    /Abs reads an output that was not wanted/,
  ],
])('%s is refused while the graph is built', (_, build, message) => {
  expect(() => build(new GraphBuilder())).toThrow(message)
})

it('an operator that the table lacks can be used by saying what its output is', () => {
  const graph = new GraphBuilder()
  const y = graph.op('Frobnicate', [float(graph, 'x', 'N', 3)], {}, 'some.domain', { dtype: 'int64', shape: ['N'] })
  expect(y).toMatchObject({ dtype: 'int64', shape: ['N'] })
})

it('nodes stay as records with typed inputs and outputs, in the order in which they were added', () => {
  const graph = new GraphBuilder()
  const x = float(graph, 'x', 'N', 4)
  const [left] = graph.ops('Split', [x], 2, { axis: 1, num_outputs: 2 }, '', [true, false])
  graph.output(graph.op('Clip', [left, undefined, graph.scalar(1)]), { name: 'y', dtype: 'float32', shape: ['N', 2] })
  expect(graph.nodes.map(({ type }) => type)).toEqual(['Split', 'Clip', 'Identity'])
  expect(graph.nodes[0]!.outputs).toEqual([left, undefined])
  expect(graph.nodes[1]!.inputs[1]).toBeUndefined()
  expect(graph.nodes[2]!.outputs[0]).toMatchObject({ name: 'y', shape: ['N', 2] })
})
