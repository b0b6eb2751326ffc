/** Gradients of operators that work element by element. At a kink the value is PyTorch's. */
import type { Value } from '../value.js'
import { isFloat, MS } from './arithmetic.js'
import type { Backward, GradientRule, GradientTable } from './rule.js'

/** dx = d · slope. */
const times =
  (slope: (back: Backward) => Value): GradientRule =>
  (back) => [back.mul(back.d, slope(back))]

/** Each input of a broadcasting operator gets its share of d, summed over what was broadcast. */
const shared =
  (...shares: ((back: Backward) => Value)[]): GradientRule =>
  (back) =>
    shares.map((share, i) => (back.needs(i) ? back.sumTo(share(back), back.x(i)) : undefined))

/** Nothing comes back: steps, signs, comparisons. */
const none: GradientRule = () => []

/** Where a condition holds d, elsewhere 0. */
function only(back: Backward, condition: Value, d: Value = back.d): Value {
  return back.op('Where', [condition, d, back.number(0, d)])
}

/** Max and Min of two: PyTorch gives both a half where they are equal. */
const extreme =
  (beats: 'Greater' | 'Less'): GradientRule =>
  (back) => {
    const count = back.node.inputs.length
    if (count !== 2) back.refuse(`of ${count} inputs is not supported`)
    const [a, b] = [back.x(0), back.x(1)]
    const half = only(back, back.op('Equal', [a, b]), back.scale(back.d, 0.5))
    const share = (mine: Value, other: Value): Value => back.add(only(back, back.op(beats, [mine, other])), half)
    return shared(
      () => share(a, b),
      () => share(b, a),
    )(back)
  }

const pow: GradientRule = (back) => {
  const [x, p] = [back.x(0), back.x(1)]
  const [known] = p.elements ?? []
  const base = (): Value => {
    if (known === 2) return back.mul(back.d, back.scale(x, 2))
    if (typeof known === 'number')
      return back.mul(back.d, back.scale(back.op('Pow', [x, back.number(known - 1, p)]), known))
    return back.mul(back.d, back.mul(p, back.op('Pow', [x, back.sub(p, back.number(1, p))])))
  }
  return shared(base, () => back.mul(back.d, back.mul(back.y(), back.op('Log', [x]))))(back)
}

/** σ(αx) · (1 + αx (1 − σ(αx))), of x · σ(αx). */
const quickGelu: GradientRule = times((back) => {
  const [alpha, x] = [back.float('alpha', 1.702), back.x(0)]
  const s = back.op('Sigmoid', [back.scale(x, alpha)])
  // α = 1 (SiLU): σ (1 − y) + y with y = x σ, which is there.
  const rest = back.mul(s, back.sub(back.number(1, s), back.scale(back.y(), alpha)))
  return back.add(rest, back.scale(back.y(), alpha))
})

const SQRT_HALF = Math.SQRT1_2
/** 1 / √(2π) */
const DENSITY = 0.3989422804014327

/** Φ(x) + x φ(x), of x Φ(x). */
function exactGeluSlope(back: Backward, x: Value): Value {
  const cumulative = back.scale(back.add(back.op('Erf', [back.scale(x, SQRT_HALF)]), back.number(1, x)), 0.5)
  const density = back.scale(back.op('Exp', [back.scale(back.mul(x, x), -0.5)]), DENSITY)
  return back.add(cumulative, back.mul(x, density))
}

const ROOT = Math.sqrt(2 / Math.PI)
const CUBIC = 0.044715

/** The slope of x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))). */
function tanhGeluSlope(back: Backward, x: Value): Value {
  const one = back.number(1, x)
  const square = back.mul(x, x)
  const inner = back.mul(x, back.add(back.scale(square, ROOT * CUBIC), back.number(ROOT, x)))
  const t = back.op('Tanh', [inner])
  const slope = back.add(back.scale(square, 3 * ROOT * CUBIC), back.number(ROOT, x))
  const bend = back.mul(back.mul(x, back.sub(one, back.mul(t, t))), slope)
  return back.scale(back.add(back.add(t, one), bend), 0.5)
}

const gelu: GradientRule = times((back) =>
  back.node.attributes.approximate === 'tanh' ? tanhGeluSlope(back, back.x(0)) : exactGeluSlope(back, back.x(0)),
)

/** FastGelu adds a bias first, where it has one. */
const fastGelu: GradientRule = (back) => {
  const bias = back.node.inputs[1]
  const dx = back.mul(back.d, tanhGeluSlope(back, bias ? back.add(back.x(0), bias) : back.x(0)))
  return [dx, bias && back.needs(1) ? back.sumTo(dx, bias) : undefined]
}

const biasGelu: GradientRule = (back) => {
  const dx = back.mul(back.d, exactGeluSlope(back, back.add(back.x(0), back.x(1))))
  return [dx, back.needs(1) ? back.sumTo(dx, back.x(1)) : undefined]
}

function softmaxAxis(back: Backward): number {
  const axis = back.int('axis', -1)
  return axis < 0 ? axis + back.x(0).shape.length : axis
}

const softmax: GradientRule = (back) => {
  const y = back.y()
  const dy = back.mul(back.d, y)
  return [back.sub(dy, back.mul(y, back.sum(dy, [softmaxAxis(back)])))]
}

const logSoftmax: GradientRule = (back) => {
  const total = back.sum(back.d, [softmaxAxis(back)])
  return [back.sub(back.d, back.mul(back.op('Exp', [back.y()]), total))]
}

const where: GradientRule = (back) => {
  const zero = back.number(0, back.d)
  const pick = (d: Value, other: Value): Value => back.op('Where', [back.x(0), d, other])
  return [
    undefined,
    back.needs(1) ? back.sumTo(pick(back.d, zero), back.x(1)) : undefined,
    back.needs(2) ? back.sumTo(pick(zero, back.d), back.x(2)) : undefined,
  ]
}

/** PyTorch's clamp lets gradients through at its bounds. */
const clip: GradientRule = (back) => {
  const [, low, high] = back.node.inputs
  let d = back.d
  if (low) d = only(back, back.op('GreaterOrEqual', [back.x(0), low]), d)
  if (high) d = only(back, back.op('LessOrEqual', [back.x(0), high]), d)
  return [d]
}

/**
 * To another float type and back. A gradient has the type of its value, so one that comes through bfloat16 is rounded
 * to it, as under PyTorch; `straightThrough` (backward.ts) keeps it as it is.
 */
const cast: GradientRule = (back) => (isFloat(back.x(0)) ? [back.cast(back.d, back.x(0).dtype)] : [])

const cumSum: GradientRule = (back) => [
  back.op('CumSum', [back.d, back.x(1)], { exclusive: back.int('exclusive', 0), reverse: 1 - back.int('reverse', 0) }),
]

export const ELEMENTWISE_GRADIENTS: GradientTable = {
  ':Identity': (back) => [back.d],
  ':Add': shared(
    (back) => back.d,
    (back) => back.d,
  ),
  ':Sub': shared(
    (back) => back.d,
    (back) => back.neg(back.d),
  ),
  ':Mul': shared(
    (back) => back.mul(back.d, back.x(1)),
    (back) => back.mul(back.d, back.x(0)),
  ),
  ':Div': shared(
    (back) => back.div(back.d, back.x(1)),
    (back) => back.neg(back.div(back.mul(back.d, back.y()), back.x(1))),
  ),
  ':Sum': (back) => back.node.inputs.map((x, i) => (x && back.needs(i) ? back.sumTo(back.d, x) : undefined)),
  ':Max': extreme('Greater'),
  ':Min': extreme('Less'),
  ':Pow': pow,
  ':Neg': (back) => [back.neg(back.d)],
  ':Abs': times((back) => back.op('Sign', [back.x(0)])),
  ':Sqrt': (back) => [back.div(back.scale(back.d, 0.5), back.y())],
  ':Exp': times((back) => back.y()),
  ':Log': (back) => [back.div(back.d, back.x(0))],
  ':Reciprocal': times((back) => back.neg(back.mul(back.y(), back.y()))),
  ':Sigmoid': times((back) => back.mul(back.y(), back.sub(back.number(1, back.d), back.y()))),
  ':Tanh': times((back) => back.sub(back.number(1, back.d), back.mul(back.y(), back.y()))),
  ':Softplus': times((back) => back.op('Sigmoid', [back.x(0)])),
  ':Erf': times((back) =>
    back.scale(back.op('Exp', [back.neg(back.mul(back.x(0), back.x(0)))]), 2 / Math.sqrt(Math.PI)),
  ),
  ':Sin': times((back) => back.op('Cos', [back.x(0)])),
  ':Cos': times((back) => back.neg(back.op('Sin', [back.x(0)]))),
  ':Relu': (back) => [only(back, back.op('Greater', [back.x(0), back.number(0, back.d)]))],
  ':LeakyRelu': (back) => {
    const low = back.scale(back.d, back.float('alpha', 0.01))
    return [back.op('Where', [back.op('Greater', [back.x(0), back.number(0, back.d)]), back.d, low])]
  },
  ':Gelu': gelu,
  [`${MS}:Gelu`]: times((back) => exactGeluSlope(back, back.x(0))),
  [`${MS}:QuickGelu`]: quickGelu,
  [`${MS}:FastGelu`]: fastGelu,
  [`${MS}:BiasGelu`]: biasGelu,
  ':Softmax': softmax,
  ':LogSoftmax': logSoftmax,
  ':Where': where,
  ':Clip': clip,
  ':Cast': cast,
  ':CumSum': cumSum,
  ':Trilu': (back) => [back.op('Trilu', [back.d, back.node.inputs[1]], { upper: back.int('upper', 1) })],
  ':Floor': none,
  ':Ceil': none,
  ':Round': none,
  ':Sign': none,
}
