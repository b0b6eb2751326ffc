/** Gradients of norms. With x̂ the normed rows and g = d · weight: dx = (g − mean(g) − x̂ · mean(g · x̂)) / deviation. */
import type { Value } from '../value.js'
import { MS } from './arithmetic.js'
import type { Backward, GradientRule, GradientTable } from './rule.js'

interface Rows {
  x: Value
  weight: Value
  /** None: the norm divides by the root mean square and subtracts nothing. */
  mean?: Value
  /** 1 / deviation, [.., 1]. */
  inverse: Value
  /** The axes that are normed. */
  axes: number[]
}

interface RowGradients {
  x: Value
  weight(): Value
}

function rowGradients(back: Backward, d: Value, { x, weight, mean, inverse, axes }: Rows): RowGradients {
  const hat = back.mul(mean ? back.sub(x, mean) : x, inverse)
  const g = back.mul(d, weight)
  const spread = back.mul(hat, back.mean(back.mul(g, hat), axes))
  const centred = mean ? back.sub(g, back.mean(g, axes)) : g
  return { x: back.mul(back.sub(centred, spread), inverse), weight: () => back.sumTo(back.mul(d, hat), weight) }
}

function normedAxes(back: Backward): number[] {
  const rank = back.x(0).shape.length
  const axis = back.int('axis', -1)
  const from = axis < 0 ? axis + rank : axis
  return Array.from({ length: rank - from }, (_, i) => from + i)
}

const layerNorm: GradientRule = (back) => {
  const rows = { x: back.x(0), weight: back.x(1), mean: back.y(1), inverse: back.y(2), axes: normedAxes(back) }
  const gradients = rowGradients(back, back.d, rows)
  return [
    gradients.x,
    back.needs(1) ? gradients.weight() : undefined,
    back.needs(2) ? back.sumTo(back.d, back.x(2)) : undefined,
  ]
}

const rmsNorm: GradientRule = (back) => {
  const rows = { x: back.x(0), weight: back.x(1), inverse: back.y(1), axes: normedAxes(back) }
  const gradients = rowGradients(back, back.d, rows)
  return [gradients.x, back.needs(1) ? gradients.weight() : undefined]
}

/** A norm of x + skip (+ bias), which gives the sum, too. */
const skipNorm =
  (centred: boolean): GradientRule =>
  (back) => {
    const [dy, , , dSum] = back.upstream
    const [weightAt, betaAt, biasAt] = centred ? [2, 3, 4] : [2, undefined, 3]
    const out: (Value | undefined)[] = []
    let d = dSum
    if (dy) {
      const sum = back.y(3)
      const axes = [sum.shape.length - 1]
      const mean = centred ? back.y(1) : undefined
      const gradients = rowGradients(back, dy, { x: sum, weight: back.x(weightAt), mean, inverse: back.y(2), axes })
      if (back.needs(weightAt)) out[weightAt] = gradients.weight()
      if (betaAt !== undefined && back.needs(betaAt)) out[betaAt] = back.sumTo(dy, back.x(betaAt))
      d = d ? back.add(d, gradients.x) : gradients.x
    }
    if (!d) return []
    out[0] = d
    if (back.needs(1)) out[1] = back.sumTo(d, back.x(1))
    if (back.needs(biasAt)) out[biasAt] = back.sumTo(d, back.x(biasAt))
    return out
  }

/** Channels over everything else: by the batch's own statistics in training mode, by the stored ones otherwise. */
const batchNorm: GradientRule = (back) => {
  const [x, weight, d] = [back.x(0), back.x(1), back.d]
  const axes = [...x.shape.keys()].filter((axis) => axis !== 1)
  const channels = (value: Value): Value =>
    back.reshape(
      value,
      x.shape.map((size, i) => (i === 1 ? size : 1)),
    )
  const training = back.int('training_mode', 0) === 1
  const mean = training ? back.mean(x, axes) : channels(back.x(3))
  const shifted = back.sub(x, mean)
  const variance = training ? back.mean(back.mul(shifted, shifted), axes) : channels(back.x(4))
  const epsilon = back.number(back.float('epsilon', 1e-5), x)
  const inverse = back.op('Reciprocal', [back.op('Sqrt', [back.add(variance, epsilon)])])
  const hat = back.mul(shifted, inverse)
  const perChannel = (value: Value): Value => back.reshapeAs(back.sum(value, axes), weight)
  const dx = (): Value => {
    if (!training) return back.mul(d, back.mul(inverse, channels(weight)))
    return rowGradients(back, d, { x, weight: channels(weight), mean, inverse, axes }).x
  }
  return [
    back.needs(0) ? dx() : undefined,
    back.needs(1) ? perChannel(back.mul(d, hat)) : undefined,
    back.needs(2) ? perChannel(d) : undefined,
  ]
}

export const NORM_GRADIENTS: GradientTable = {
  ':LayerNormalization': layerNorm,
  ':SimplifiedLayerNormalization': rmsNorm,
  ':BatchNormalization': batchNorm,
  [`${MS}:SkipLayerNormalization`]: skipNorm(true),
  [`${MS}:SkipSimplifiedLayerNormalization`]: skipNorm(false),
}
