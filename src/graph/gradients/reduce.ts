/** Gradients of reductions: d is spread over the axes that were summed. */
import { reducedAxes } from '../operators/reduce.js'
import { ELEMENT, type Value } from '../value.js'
import { knownCount } from './arithmetic.js'
import type { Backward, GradientRule, GradientTable } from './rule.js'

interface Reduction {
  axes: number[]
  /** A value of the output's size with the reduced axes as 1. */
  kept(value: Value): Value
}

function reductionOf(back: Backward): Reduction {
  const { inputs, attributes, type, domain = '' } = back.node
  const axes = reducedAxes({ inputs, attributes, type, domain, count: 1 })
  const x = back.x(0)
  const shape = x.shape.map((size, i) => (axes.includes(i) ? 1 : size))
  return { axes, kept: (value) => back.reshape(value, shape) }
}

/** How many elements went into one, as a number of the type of x. */
function count(back: Backward, axes: readonly number[]): Value {
  const x = back.x(0)
  const known = knownCount(x.shape, axes)
  if (typeof known === 'number') return back.number(known, x)
  const sizes = back.op('Gather', [back.op('Shape', [x]), back.ints(axes)])
  return back.op('Cast', [back.op('ReduceProd', [sizes, back.ints([0])], { keepdims: 0 })], { to: ELEMENT[x.dtype] })
}

const sum: GradientRule = (back) => [back.expandAs(reductionOf(back).kept(back.d), back.x(0))]

const mean: GradientRule = (back) => {
  const { axes, kept } = reductionOf(back)
  const known = knownCount(back.x(0).shape, axes)
  const d = kept(back.d)
  const share = typeof known === 'number' ? back.scale(d, 1 / known) : back.div(d, count(back, axes))
  return [back.expandAs(share, back.x(0))]
}

/** Equal extremes share alike, as PyTorch's amax and amin. */
const extreme: GradientRule = (back) => {
  const { axes, kept } = reductionOf(back)
  const x = back.x(0)
  const hits = back.cast(back.op('Equal', [x, kept(back.y())]), x.dtype)
  return [back.mul(hits, back.div(kept(back.d), back.sum(hits, axes)))]
}

export const REDUCE_GRADIENTS: GradientTable = {
  ':ReduceSum': sum,
  ':ReduceMean': mean,
  ':ReduceMax': extreme,
  ':ReduceMin': extreme,
  ':ReduceSumSquare': (back) => [back.mul(back.scale(back.x(0), 2), reductionOf(back).kept(back.d))],
  ':ReduceL1': (back) => [back.mul(back.op('Sign', [back.x(0)]), reductionOf(back).kept(back.d))],
  // Of zeros there is no gradient: like PyTorch's, whose norm gives 0 there, and not NaN.
  ':ReduceL2': (back) => {
    const { kept } = reductionOf(back)
    const y = kept(back.y())
    const safe = back.op('Where', [back.op('Equal', [y, back.number(0, y)]), back.number(1, y), y])
    return [back.mul(back.x(0), back.div(kept(back.d), safe))]
  },
  ':ReduceLogSumExp': (back) => {
    const { kept } = reductionOf(back)
    return [back.mul(back.op('Exp', [back.sub(back.x(0), kept(back.y()))]), kept(back.d))]
  },
}
