/** Operators that work element by element, with NumPy's broadcasting where they have several inputs. */
import { addDims, type Dim, divideDims, multiplyDims, subtractDims } from '../dims.js'
import { elementOf, type TensorType } from '../value.js'
import {
  broadcastShapes,
  type Infer,
  inputOf,
  intOf,
  MICROSOFT,
  type NodeView,
  type OperatorTable,
  refuse,
  sameDtype,
} from './node-view.js'

/** y has the type of x. */
export const unary: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  return [{ dtype, shape }]
}

/** Sizes that are computed from sizes stay known. */
function knownElements(node: NodeView, combine: (a: Dim, b: Dim) => Dim | undefined): readonly Dim[] | undefined {
  const [a, b] = [node.inputs[0]?.elements, node.inputs[1]?.elements]
  if (!a || !b || node.inputs[0]!.dtype !== 'int64' || (a.length > 1 && b.length > 1 && a.length !== b.length))
    return undefined
  const length = Math.min(a.length, b.length) === 0 ? 0 : Math.max(a.length, b.length)
  const out: Dim[] = []
  for (let i = 0; i < length; i++) {
    const value = combine(a[a.length === 1 ? 0 : i]!, b[b.length === 1 ? 0 : i]!)
    if (value === undefined) return undefined
    out.push(value)
  }
  return out
}

function broadcasting(combine?: (a: Dim, b: Dim) => Dim | undefined): Infer {
  return (node) => {
    const indices = [...node.inputs.keys()]
    const dtype = sameDtype(node, indices)
    const shape = broadcastShapes(
      node,
      indices.map((i) => inputOf(node, i).shape),
    )
    const elements = combine && shape.length < 2 ? knownElements(node, combine) : undefined
    return [elements ? { dtype, shape, elements } : { dtype, shape }]
  }
}

const comparison: Infer = (node) => [{ ...broadcasting()(node)[0]!, dtype: 'bool' }]

const where: Infer = (node) => {
  if (inputOf(node, 0).dtype !== 'bool') refuse(node, 'the condition is not bool')
  const shape = broadcastShapes(
    node,
    [0, 1, 2].map((i) => inputOf(node, i).shape),
  )
  return [{ dtype: sameDtype(node, [1, 2]), shape }]
}

const cast: Infer = (node) => {
  const { shape, elements } = inputOf(node, 0)
  const dtype = elementOf(intOf(node, 'to', 0))
  const whole = elements?.every((value) => typeof value === 'string' || Number.isInteger(value))
  return [elements && whole ? { dtype, shape, elements } : { dtype, shape }]
}

const quantize: Infer = (node) => {
  const { shape } = inputOf(node, 0)
  return [{ dtype: node.inputs[2]?.dtype ?? 'uint8', shape }]
}

const toBool: Infer = (node) => [{ dtype: 'bool', shape: inputOf(node, 0).shape }]

const clip: Infer = (node) => {
  const dtype = sameDtype(node, [...node.inputs.keys()])
  return [{ dtype, shape: inputOf(node, 0).shape } satisfies TensorType]
}

const rule = (infer: Infer) => ({ infer })
const UNARY = [
  ...[
    'Abs',
    'Ceil',
    'Cos',
    'Erf',
    'Exp',
    'Floor',
    'Gelu',
    'HardSigmoid',
    'HardSwish',
    'LeakyRelu',
    'Log',
    'Mish',
    'Neg',
  ],
  ...['Not', 'Reciprocal', 'Relu', 'Round', 'Sigmoid', 'Sign', 'Sin', 'Softplus', 'Sqrt', 'Tanh'],
  ...['Softmax', 'LogSoftmax', 'CumSum', 'Trilu'],
]

export const ELEMENTWISE: OperatorTable = {
  ...Object.fromEntries(UNARY.map((type) => [`:${type}`, rule(unary)])),
  ':Identity': rule((node) => [inputOf(node, 0)]),
  [`${MICROSOFT}:QuickGelu`]: rule(unary),
  [`${MICROSOFT}:Gelu`]: rule(unary),
  [`${MICROSOFT}:FastGelu`]: rule(unary),
  [`${MICROSOFT}:BiasGelu`]: rule(unary),
  ':Add': rule(broadcasting(addDims)),
  ':Sub': rule(broadcasting(subtractDims)),
  ':Mul': rule(broadcasting(multiplyDims)),
  ':Div': rule(broadcasting((a, b) => (b === 0 ? undefined : divideDims(a, b)))),
  ':Max': rule(broadcasting()),
  ':Min': rule(broadcasting()),
  ':Mod': rule(broadcasting()),
  ':Sum': rule(broadcasting()),
  ':And': rule(broadcasting()),
  ':Or': rule(broadcasting()),
  ':Pow': rule((node) => [
    {
      dtype: inputOf(node, 0).dtype,
      shape: broadcastShapes(node, [inputOf(node, 0).shape, inputOf(node, 1).shape]),
    },
  ]),
  ':Equal': rule(comparison),
  ':Less': rule(comparison),
  ':LessOrEqual': rule(comparison),
  ':Greater': rule(comparison),
  ':GreaterOrEqual': rule(comparison),
  ':IsNaN': rule(toBool),
  ':IsInf': rule(toBool),
  ':Where': rule(where),
  ':Cast': rule(cast),
  ':Clip': rule(clip),
  ':QuantizeLinear': rule(quantize),
  ':DequantizeLinear': rule((node) => [{ dtype: inputOf(node, 1).dtype, shape: inputOf(node, 0).shape }]),
}
