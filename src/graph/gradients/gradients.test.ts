/**
 * Every rule against finite differences in float64 (both by the interpreter), and the engine's float32 against that:
 * the first says that the rule is right, the second that the engine computes what the nodes say.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { interpret, type Tensor, tensor } from '../../../test/support/interpret/index.js'
import * as ort from '../../engine/runtime.js'
import { GraphBuilder, type Value } from '../builder.js'
import { graphBug } from '../value.js'
import { addGradients, GRADIENTS } from './index.js'

const MS = 'com.microsoft'

/** Shape, and what values are drawn from: −1 … 1, or 0.3 … 1.3 (`positive`). */
interface Input {
  shape: number[]
  positive?: boolean
  /** Takes no part in the gradients. */
  fixed?: boolean
}

type Build = (graph: GraphBuilder, inputs: Value[]) => Value

interface Case {
  inputs: Input[]
  build: Build
}

const of = (...shape: number[]): Input => ({ shape })
const positive = (...shape: number[]): Input => ({ shape, positive: true })

/** One operator on given shapes. */
function op(type: string, inputs: Input[], attributes = {}, domain = ''): Case {
  return { inputs, build: (graph, values) => graph.op(type, values, attributes, domain) }
}
/** One operator with further, constant inputs. */
function withConstants(inputs: Input[], build: Build): Case {
  return { inputs, build }
}
const window = { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }
const epsilon = { float: 1e-3 }
const int64 = (graph: GraphBuilder, ...values: number[]): Value => graph.constant(values, [values.length], 'int64')

/** Cos and sin of a few angles, [positions, pairs]. */
const angles = (graph: GraphBuilder, f: (x: number) => number, rows: number, pairs: number): Value =>
  graph.constant(
    Float32Array.from({ length: rows * pairs }, (_, i) => f(i * 0.7 + 0.2)),
    [rows, pairs],
  )

const rotary = (interleaved: number): Case =>
  withConstants([of(2, 3, 8)], (g, [x]) =>
    g.op(
      'RotaryEmbedding',
      [x, g.constant([0], [1], 'int64'), angles(g, Math.cos, 3, 2), angles(g, Math.sin, 3, 2)],
      { num_heads: 2, interleaved },
      MS,
    ),
  )

const skip = (type: string, norms: Input[], inputs: number): Case => ({
  inputs: [of(2, 3, 5), of(2, 3, 5), ...norms],
  build: (g, values) => {
    const outputs = g.ops(type, values.slice(0, inputs), 4, { epsilon }, MS, [true, false, false, true])
    return g.op('Add', [g.op('Mul', [outputs[0]!, outputs[0]!]), outputs[3]!])
  },
})

const unary = (names: string[], input: Input, domain = ''): Record<string, Case> =>
  Object.fromEntries(names.map((name) => [`${domain}:${name}`, op(name, [input], {}, domain)]))

const CASES: Record<string, Case> = {
  ...unary(['Identity', 'Neg', 'Abs', 'Exp', 'Sigmoid', 'Tanh', 'Softplus', 'Erf', 'Sin', 'Cos', 'Relu'], of(3, 4)),
  ...unary(['Sqrt', 'Log', 'Reciprocal'], positive(3, 4)),
  ...unary(['Gelu', 'QuickGelu', 'FastGelu'], of(3, 4), MS),
  // Steps: nothing comes back through them.
  ...Object.fromEntries(
    ['Floor', 'Ceil', 'Round', 'Sign'].map((name): [string, Case] => [
      `:${name}`,
      { inputs: [of(3, 4)], build: (g, [x]) => g.op('Mul', [x, g.op(name, [g.op('Mul', [x, g.scalar(3.1)])])]) },
    ]),
  ),
  ':LeakyRelu': op('LeakyRelu', [of(3, 4)], { alpha: { float: 0.2 } }),
  ':Gelu': op('Gelu', [of(3, 4)]),
  ':Gelu (tanh)': op('Gelu', [of(3, 4)], { approximate: 'tanh' }),
  [`${MS}:QuickGelu (SiLU)`]: op('QuickGelu', [of(3, 4)], { alpha: { float: 1 } }, MS),
  [`${MS}:FastGelu (bias)`]: op('FastGelu', [of(3, 4), of(4)], {}, MS),
  [`${MS}:BiasGelu`]: op('BiasGelu', [of(3, 4), of(4)], {}, MS),
  ':Add': op('Add', [of(2, 3, 4), of(3, 1)]),
  ':Sub': op('Sub', [of(4), of(2, 3, 4)]),
  ':Mul': op('Mul', [of(2, 3, 4), of(2, 1, 4)]),
  ':Div': op('Div', [of(3, 4), positive(2, 3, 1)]),
  ':Mul (square)': withConstants([of(3, 4)], (g, [x]) => g.op('Mul', [x, x])),
  ':Sum': op('Sum', [of(3, 4), of(4), of(3, 1)]),
  ':Max': op('Max', [of(3, 4), of(1, 4)]),
  ':Min': op('Min', [of(3, 4), of(3, 1)]),
  ':Pow': withConstants([positive(3, 4)], (g, [x]) => g.op('Pow', [x, g.scalar(1.7)])),
  ':Pow (square)': withConstants([of(3, 4)], (g, [x]) => g.op('Pow', [x, g.scalar(2)])),
  ':Pow (both)': op('Pow', [positive(3, 4), positive(4)]),
  ':Softmax': op('Softmax', [of(2, 3, 4)], { axis: 1 }),
  ':LogSoftmax': op('LogSoftmax', [of(2, 3, 4)], { axis: -1 }),
  ':Where': withConstants([of(3, 4), of(4), of(3, 1)], (g, [x, a, b]) =>
    g.op('Where', [g.op('Greater', [x, g.scalar(0)]), a, g.op('Mul', [b, x])]),
  ),
  ':Clip': withConstants([of(3, 4)], (g, [x]) => g.op('Clip', [x, g.scalar(-0.4), g.scalar(0.6)])),
  ':Clip (one side)': withConstants([of(3, 4)], (g, [x]) => g.op('Clip', [x, undefined, g.scalar(0.3)])),
  ':Cast': withConstants([of(3, 4)], (g, [x]) => g.op('Cast', [g.op('Cast', [x], { to: 11 })], { to: 1 })),
  ':CumSum': withConstants([of(3, 4)], (g, [x]) => g.op('CumSum', [x, g.constant([1], [], 'int64')], { exclusive: 1 })),
  ':Trilu': op('Trilu', [of(2, 4, 4)], { upper: 0 }),

  ':Reshape': withConstants([of(3, 4)], (g, [x]) => g.op('Reshape', [x, g.ints([2, -1])])),
  ':Unsqueeze': withConstants([of(3, 4)], (g, [x]) => g.op('Unsqueeze', [x, g.ints([1])])),
  ':Squeeze': withConstants([of(3, 1, 4)], (g, [x]) => g.op('Squeeze', [x, g.ints([1])])),
  ':Transpose': op('Transpose', [of(2, 3, 4)], { perm: [2, 0, 1] }),
  ':Transpose (all)': op('Transpose', [of(2, 3, 4)]),
  ':Slice': withConstants([of(4, 6)], (g, [x]) => g.op('Slice', [x, g.ints([1, -3]), g.ints([3, -1]), g.ints([0, 1])])),
  ':Slice (backwards)': withConstants([of(5, 3)], (g, [x]) =>
    g.op('Slice', [x, g.ints([3]), g.ints([0]), g.ints([0]), g.ints([-1])]),
  ),
  ':Concat': op('Concat', [of(2, 3), of(2, 1), of(2, 2)], { axis: -1 }),
  ':Split': withConstants([of(2, 7)], (g, [x]) => {
    const [a, , c] = g.ops('Split', [x, g.ints([2, 3, 2])], 3, { axis: 1 })
    return g.op('Mul', [a!, c!])
  }),
  ':Gather': withConstants([of(5, 3)], (g, [x]) => g.op('Gather', [x, int64(g, 4, 1, 1, 0)], { axis: 0 })),
  ':Gather (inner axis)': withConstants([of(2, 5, 3)], (g, [x]) =>
    g.op('Gather', [x, g.constant([3, 0, 3, 3], [2, 2], 'int64')], { axis: 1 }),
  ),
  ':Gather (one)': withConstants([of(2, 5, 3)], (g, [x]) =>
    g.op('Gather', [x, g.constant([-2], [], 'int64')], { axis: 1 }),
  ),
  ':Gather (large table)': withConstants([of(5000, 1)], (g, [x]) =>
    g.op('Gather', [x, int64(g, 4999, 1, 1, 0)], { axis: 0 }),
  ),
  ':GatherND': withConstants([of(3, 4, 2)], (g, [x]) =>
    g.op('GatherND', [x, g.constant([3, 0, 0], [3, 1], 'int64')], { batch_dims: 1 }),
  ),
  ':GatherElements': withConstants([of(3, 4)], (g, [x]) =>
    g.op('GatherElements', [x, g.constant([0, 0, 3, 1, 1, 2], [3, 2], 'int64')], { axis: 1 }),
  ),
  ':ScatterElements': withConstants([of(3, 4), of(3, 2)], (g, [x, u]) =>
    g.op('ScatterElements', [x, g.constant([0, 1, 3, 1, 1, 2], [3, 2], 'int64'), u], { axis: 1 }),
  ),
  ':ScatterElements (add)': withConstants([of(3, 4), of(2, 4)], (g, [x, u]) =>
    g.op('ScatterElements', [x, g.constant([0, 1, 2, 1, 0, 1, 2, 0], [2, 4], 'int64'), u], {
      axis: 0,
      reduction: 'add',
    }),
  ),
  ':ScatterND': withConstants([of(4, 3), of(2, 3)], (g, [x, u]) =>
    g.op('ScatterND', [x, g.constant([3, 1], [2, 1], 'int64'), u]),
  ),
  ':Expand': withConstants([of(3, 1)], (g, [x]) => g.op('Expand', [x, g.ints([2, 3, 4])])),
  ':Tile': withConstants([of(3, 2)], (g, [x]) => g.op('Tile', [x, g.ints([2, 3])])),
  ':Pad': withConstants([of(3, 2)], (g, [x]) => g.op('Pad', [x, g.ints([1, 0, 0, 2])])),
  ':DepthToSpace': op('DepthToSpace', [of(2, 8, 2, 3)], { blocksize: 2 }),
  ':SpaceToDepth': op('SpaceToDepth', [of(2, 2, 4, 6)], { blocksize: 2 }),

  ...Object.fromEntries(
    ['Sum', 'Mean', 'Max', 'Min', 'SumSquare', 'L1', 'L2', 'LogSumExp'].flatMap((name): [string, Case][] => [
      [
        `:Reduce${name}`,
        withConstants([of(2, 3, 4)], (g, [x]) => g.op(`Reduce${name}`, [x, g.ints([0, -1])], { keepdims: 0 })),
      ],
      [`:Reduce${name} (all)`, op(`Reduce${name}`, [of(2, 3)])],
    ]),
  ),

  ...Object.fromEntries(
    [0, 1, 2, 3].map((bits): [string, Case] => {
      const [transA, transB] = [bits & 1, bits >> 1]
      const attributes = { transA, transB, alpha: { float: 0.7 }, beta: { float: 1.3 } }
      const inputs = [of(...(transA ? [4, 3] : [3, 4])), of(...(transB ? [5, 4] : [4, 5])), of(5)]
      return [bits === 0 ? ':Gemm' : `:Gemm (${transA}${transB})`, op('Gemm', inputs, attributes)]
    }),
  ),
  ':MatMul': op('MatMul', [of(2, 3, 4), of(4, 5)]),
  ':MatMul (stacks)': op('MatMul', [of(2, 3, 4), of(1, 4, 5)]),
  ':MatMul (left)': op('MatMul', [of(1, 3), of(2, 3, 4)]),
  ...Object.fromEntries(
    [0, 1, 2, 3].map((bits): [string, Case] => {
      const [transA, transB] = [bits & 1, bits >> 1]
      const inputs = [of(...(transA ? [2, 4, 3] : [2, 3, 4])), of(...(transB ? [2, 5, 4] : [2, 4, 5]))]
      const name = bits === 0 ? `${MS}:FusedMatMul` : `${MS}:FusedMatMul (${transA}${transB})`
      return [name, op('FusedMatMul', inputs, { transA, transB, alpha: { float: 0.7 } }, MS)]
    }),
  ),
  [`${MS}:FusedMatMul (one matrix)`]: op('FusedMatMul', [of(2, 3, 4), of(5, 4)], { transB: 1 }, MS),
  [`${MS}:MultiHeadAttention`]: op('MultiHeadAttention', [of(2, 3, 8), of(2, 5, 8), of(2, 5, 8)], { num_heads: 2 }, MS),
  [`${MS}:MultiHeadAttention (causal)`]: op(
    'MultiHeadAttention',
    [of(2, 4, 8), of(2, 4, 8), of(2, 4, 8)],
    { num_heads: 4, unidirectional: 1, scale: { float: 0.9 } },
    MS,
  ),
  [`${MS}:MultiHeadAttention (biased scores)`]: withConstants(
    [of(1, 4, 8), of(1, 4, 8), of(1, 4, 8)],
    (g, [q, k, v]) => {
      const bias = g.constant(
        Float32Array.from({ length: 16 }, (_, i) => Math.sin(i)),
        [1, 1, 4, 4],
      )
      return g.op('MultiHeadAttention', [q, k, v, undefined, undefined, bias], { num_heads: 2 }, MS)
    },
  ),
  [`${MS}:RotaryEmbedding`]: rotary(0),
  [`${MS}:RotaryEmbedding (neighbours)`]: rotary(1),

  ':LayerNormalization': op('LayerNormalization', [of(2, 3, 5), of(5), of(5)], { axis: -1, epsilon }),
  ':SimplifiedLayerNormalization': op('SimplifiedLayerNormalization', [of(2, 3, 5), of(5)], { axis: -1, epsilon }),
  [`${MS}:SkipLayerNormalization`]: skip('SkipLayerNormalization', [of(5), of(5), of(5)], 5),
  [`${MS}:SkipSimplifiedLayerNormalization`]: skip('SkipSimplifiedLayerNormalization', [of(5), of(5)], 4),
  [`${MS}:SkipSimplifiedLayerNormalization (no bias)`]: skip('SkipSimplifiedLayerNormalization', [of(5)], 3),
  ':BatchNormalization': withConstants([of(3, 2, 2, 2), of(2), of(2)], (g, [x, w, b]) => {
    const [mean, variance] = [g.constant([0.1, -0.2], [2]), g.constant([0.5, 2], [2])]
    return g.op('BatchNormalization', [x, w, b, mean, variance], { epsilon })
  }),
  ':BatchNormalization (training)': withConstants([of(3, 2, 2, 2), of(2), of(2)], (g, [x, w, b]) => {
    const [mean, variance] = [g.constant([0.1, -0.2], [2]), g.constant([0.5, 2], [2])]
    return g.ops('BatchNormalization', [x, w, b, mean, variance], 3, { epsilon, training_mode: 1 })[0]!
  }),

  ':Conv': op('Conv', [of(2, 2, 5, 5), of(3, 2, 3, 3), of(3)], window),
  ':Conv (strides that do not fit)': op('Conv', [of(1, 2, 6, 5), of(2, 2, 3, 2)], { ...window, kernel_shape: [3, 2] }),
  ':Conv (dilated)': op('Conv', [of(1, 2, 7, 6), of(2, 2, 2, 3)], { kernel_shape: [2, 3], dilations: [2, 1] }),
  ':ConvTranspose': op('ConvTranspose', [of(2, 3, 3, 3), of(3, 2, 3, 3), of(2)], { ...window, output_padding: [1, 0] }),
  ':MaxPool': op('MaxPool', [of(2, 2, 5, 5)], window),
  ':MaxPool (apart)': op('MaxPool', [of(1, 2, 4, 4)], { kernel_shape: [2, 2], strides: [2, 2] }),
  ':AveragePool': op('AveragePool', [of(1, 2, 5, 5)], { ...window, count_include_pad: 0 }),
  ':AveragePool (with padding)': op('AveragePool', [of(1, 2, 5, 4)], { ...window, count_include_pad: 1 }),
  ':GlobalAveragePool': op('GlobalAveragePool', [of(2, 3, 4, 2)]),
  ':Resize': withConstants([of(1, 2, 2, 3)], (g, [x]) =>
    g.op('Resize', [x, undefined, g.constant([1, 1, 2, 3], [4])], {
      mode: 'nearest',
      coordinate_transformation_mode: 'asymmetric',
      nearest_mode: 'floor',
    }),
  ),
}

interface Built {
  graph: GraphBuilder
  loss: Value
  gradients: Value[]
  inputs: Value[]
}

/** The loss is a weighted sum of the outputs and half of their squares, so that every output has a slope of its own. */
function buildLoss({ inputs, build }: Case): Built {
  const graph = new GraphBuilder()
  const values = inputs.map(({ shape }, i) => graph.input({ name: `x${i}`, dtype: 'float32', shape }))
  const y = build(graph, values)
  const shape = y.shape as number[]
  const count = shape.reduce((a, b) => a * b, 1)
  const weights = graph.constant(
    Float32Array.from({ length: count }, (_, i) => Math.sin(3 * i + 1)),
    shape,
  )
  const parts = graph.op('Mul', [y, graph.op('Add', [weights, graph.op('Mul', [y, graph.scalar(0.5)])])])
  const loss = graph.op('ReduceSum', [parts], { keepdims: 0 })
  const wrt = values.filter((_, i) => !inputs[i]!.fixed)
  return { graph, loss, gradients: addGradients(graph, loss, wrt), inputs: wrt }
}

function draw(inputs: Input[], seed: number): Record<string, Tensor> {
  let state = seed * 2654435761 + 1
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
  random()
  return Object.fromEntries(
    inputs.map(({ shape, positive: above }, i) => {
      const size = shape.reduce((a, b) => a * b, 1)
      const values = Array.from({ length: size }, () => Math.fround(above ? 0.3 + random() : 2 * random() - 1))
      return [`x${i}`, tensor(shape, values)]
    }),
  )
}

const STEP = 1e-5

/** Slopes of the loss by every element of an input (of few places of a large one), by central differences. */
function differences(built: Built, forward: number, inputs: Record<string, Tensor>, name: string): Map<number, number> {
  const nodes = built.graph.nodes.slice(0, forward)
  const { shape, data } = inputs[name]!
  const at = (i: number, step: number): number => {
    const moved = data.slice()
    moved[i]! += step
    return interpret(built.graph, { ...inputs, [name]: { shape, data: moved } }, nodes).get(built.loss.name)!.data[0]!
  }
  const places = data.length > 200 ? [0, 1, 2, data.length - 1] : [...data.keys()]
  return new Map(places.map((i) => [i, (at(i, STEP) - at(i, -STEP)) / (2 * STEP)]))
}

async function runEngine(built: Built, inputs: Record<string, Tensor>): Promise<Float32Array[]> {
  const { graph, gradients } = built
  gradients.forEach((value, i) => {
    graph.output(value, { name: `d${i}`, dtype: 'float32', shape: [...value.shape] })
  })
  const session = await ort.InferenceSession.create(graph.encode(''), { intraOpNumThreads: 1, logSeverityLevel: 3 })
  const feeds = Object.fromEntries(
    graph.inputs.map(({ name }) => [
      name,
      new ort.Tensor('float32', Float32Array.from(inputs[name]!.data), inputs[name]!.shape),
    ]),
  )
  const results = await session.run(feeds)
  await session.release()
  // What the graph says of its values is what the engine finds.
  gradients.forEach((value, i) => {
    const { dims } = results[`d${i}`]!
    expect(dims.map((size, k) => (typeof value.shape[k] === 'number' ? size : value.shape[k]))).toEqual(value.shape)
  })
  return gradients.map((_, i) => results[`d${i}`]!.data as Float32Array)
}

describe('the gradient of', () => {
  it.each(Object.entries(CASES))('%s is the slope of the loss', async (_, given) => {
    const seeds = fc.sample(fc.nat(1e6), { numRuns: 3, seed: 7 })
    for (const seed of seeds) {
      const built = buildLoss(given)
      const forward = built.graph.nodes.findIndex(({ outputs }) => outputs[0]?.name === built.loss.name) + 1
      const inputs = draw(given.inputs, seed)
      const values = interpret(built.graph, inputs)
      const exact = built.gradients.map((value) => values.get(value.name)!)
      built.inputs.forEach(({ name }, i) => {
        expect(exact[i]!.shape).toEqual(inputs[name]!.shape)
        for (const [place, slope] of differences(built, forward, inputs, name)) {
          expect(Math.abs(exact[i]!.data[place]! - slope), `${name}[${place}]`).toBeLessThan(
            2e-7 * (1 + Math.abs(slope)),
          )
        }
      })
      if (seed !== seeds[0]) continue
      const single = await runEngine(built, inputs)
      exact.forEach(({ data }, i) => {
        const size = Math.sqrt(data.reduce((sum, x) => sum + x * x, 0))
        const error = Math.sqrt(data.reduce((sum, x, k) => sum + (x - single[i]![k]!) ** 2, 0))
        expect(error, `the engine's gradient of x${i}`).toBeLessThan(2e-6 * (size + 1))
      })
    }
  })

  it('every operator that has a rule is compared here', () => {
    const compared = new Set(Object.keys(CASES).map((name) => name.replace(/ \(.*/, '')))
    expect(Object.keys(GRADIENTS).filter((name) => !compared.has(name))).toEqual([])
  })

  it('an operator without a rule is refused by its name when the graph is built', () => {
    const built = op('ReduceProd', [of(3, 4)])
    expect(() => buildLoss(built)).toThrow(/gradient of ReduceProd .*there is no rule for it/)
    expect(() => buildLoss(op('Conv', [of(1, 4, 3, 3), of(4, 2, 3, 3)], { group: 2 }))).toThrow(/Conv .*in groups/)
  })

  it('a value that the loss does not depend on is refused', () => {
    const graph = new GraphBuilder()
    const x = graph.input({ name: 'x', dtype: 'float32', shape: [3] })
    const other = graph.input({ name: 'other', dtype: 'float32', shape: [3] })
    const loss = graph.op('ReduceSum', [x], { keepdims: 0 })
    expect(() => addGradients(graph, loss, [other])).toThrow(graphBug('the loss does not depend on other').message)
  })
})

it('a value that is read several times gets the sum of what comes back', () => {
  const graph = new GraphBuilder()
  const x = graph.input({ name: 'x', dtype: 'float32', shape: [2] })
  const y = graph.op('Mul', [graph.op('Exp', [x]), graph.op('Add', [x, x])])
  const loss = graph.op('ReduceSum', [graph.op('Sub', [y, x])], { keepdims: 0 })
  const [d] = addGradients(graph, loss, [x])
  const at = [0.3, -1.1]
  const values = interpret(graph, { x: tensor([2], at) }).get(d!.name)!.data
  at.forEach((v, i) => {
    expect(values[i]).toBeCloseTo(Math.exp(v) * (2 * v + 2) - 1, 12)
  })
})

it('rounding to bfloat16 rounds the gradient as PyTorch does, or passes it straight through', async () => {
  const round = (straightThrough: boolean): Promise<Float32Array[]> => {
    const graph = new GraphBuilder()
    const x = graph.input({ name: 'x0', dtype: 'float32', shape: [2] })
    const rounded = graph.op('Cast', [graph.op('Cast', [x], { to: 16 })], { to: 1 })
    const loss = graph.op('ReduceSum', [graph.op('Mul', [rounded, graph.constant([1.001, 3], [2])])], { keepdims: 0 })
    const gradients = addGradients(graph, loss, [x], { straightThrough })
    return runEngine({ graph, loss, gradients, inputs: [x] }, { x0: tensor([2], [1.003, 2.007]) })
  }
  expect([...(await round(true))[0]!]).toEqual([Math.fround(1.001), 3])
  expect([...(await round(false))[0]!]).toEqual([1, 3])
})

it('segments give the same gradients as keeping every value', async () => {
  const build = (segments: boolean): Built => {
    const graph = new GraphBuilder()
    const x = graph.input({ name: 'x0', dtype: 'float32', shape: [3, 4] })
    const w = graph.input({ name: 'x1', dtype: 'float32', shape: [4, 4] })
    const unit = graph.input({ name: 'unit', dtype: 'float32', shape: [] })
    const condition = graph.op('Tanh', [graph.op('ReduceMean', [w, graph.ints([0])], { keepdims: 1 })])
    let y = graph.op('Sin', [x])
    for (let i = 0; i < 3; i++) {
      const block = (): Value =>
        graph.op('Add', [y, graph.op('Mul', [graph.op('Tanh', [graph.op('MatMul', [y, w])]), condition])])
      y = segments ? graph.segment(block) : block()
    }
    const loss = graph.op('ReduceSum', [graph.op('Mul', [y, y])], { keepdims: 0 })
    return { graph, loss, gradients: addGradients(graph, loss, [x, w], { unit }), inputs: [x, w] }
  }
  const inputs = { ...draw([of(3, 4), of(4, 4)], 5), unit: tensor([], [1]) }
  const [kept, again] = [build(false), build(true)]
  expect(again.graph.nodes.length).toBeGreaterThan(kept.graph.nodes.length + 10)
  expect(await runEngine(again, inputs)).toEqual(await runEngine(kept, inputs))
})

it('sizes that are free at run time need no known batch', async () => {
  const graph = new GraphBuilder()
  const x = graph.input({ name: 'x', dtype: 'float32', shape: ['N', 6] })
  const w = graph.input({ name: 'w', dtype: 'float32', shape: [6, 4] })
  const rows = graph.op('Reshape', [graph.op('MatMul', [x, w]), graph.ints([-1, 2, 2])])
  const normed = graph.op('Sub', [rows, graph.op('ReduceMean', [rows, graph.ints([0])], { keepdims: 1 })])
  const loss = graph.op('ReduceMean', [graph.op('Mul', [normed, normed])], { keepdims: 0 })
  const gradients = addGradients(graph, loss, [x, w])
  const inputs = { x: draw([of(5, 6)], 1).x0!, w: draw([of(6, 4)], 2).x0! }
  const forward = graph.nodes.findIndex(({ outputs }) => outputs[0]?.name === loss.name) + 1
  const built = { graph, loss, gradients, inputs: [x, w] }
  const values = interpret(graph, inputs)
  for (const [i, name] of ['x', 'w'].entries()) {
    const exact = values.get(gradients[i]!.name)!.data
    for (const [place, slope] of differences(built, forward, inputs, name)) expect(exact[place]).toBeCloseTo(slope, 8)
  }
  const [dx] = await runEngine(built, inputs)
  expect(dx).toHaveLength(30)
})
