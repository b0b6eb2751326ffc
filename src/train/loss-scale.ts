/**
 * What the loss of a float16 training is multiplied by, so that small gradients do not vanish: always the same number,
 * or one that becomes half as large where gradients overflow and twice as large after steps that did not
 * (torch.amp.GradScaler with its defaults).
 */
import type { GraphBuilder, Value } from '../graph/builder.js'

/** Steps without an overflow after which a dynamic scale doubles. */
const GROWTH_INTERVAL = 2000
/** The first dynamic scale. */
export const FIRST_SCALE = 65_536
/** So many steps in a row whose gradients overflow end a training; a dynamic scale is below 1/100 then. */
export const MOST_OVERFLOWS = 25

/** Where a dynamic scale is: part of a training's state. */
export interface LossScale {
  scale: number
  /** Steps since it was changed. */
  good: number
}

/** The scale and its count after a step. `ok`: the step's gradients were finite. */
export function addRescaling(graph: GraphBuilder, scale: Value, good: Value, ok: Value): [scale: Value, good: Value] {
  const int = (value: number): Value => graph.constant([value], [], 'int64')
  const pick = (condition: Value, a: Value, b: Value): Value => graph.op('Where', [condition, a, b])
  const times = (factor: number): Value => graph.op('Mul', [scale, graph.scalar(factor)])
  const counted = pick(ok, graph.op('Add', [good, int(1)]), int(0))
  const full = graph.op('Equal', [counted, int(GROWTH_INTERVAL)])
  return [pick(ok, pick(full, times(2), scale), times(0.5)), pick(full, int(0), counted)]
}
