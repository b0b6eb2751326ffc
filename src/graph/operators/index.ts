/** The one table of operators that graphs use: how element types and shapes of outputs follow from the inputs. */
import { graphBug, type TensorType } from '../value.js'
import { ARRANGE } from './arrange.js'
import { CONVOLUTIONS } from './convolutions.js'
import { ELEMENTWISE } from './elementwise.js'
import type { NodeView, OperatorTable } from './node-view.js'
import { NORMS } from './norms.js'
import { PRODUCTS } from './products.js'
import { REDUCE } from './reduce.js'

export const OPERATORS: OperatorTable = {
  ...ELEMENTWISE,
  ...ARRANGE,
  ...REDUCE,
  ...PRODUCTS,
  ...NORMS,
  ...CONVOLUTIONS,
}

/** The types of a node's outputs. An operator that the table lacks is refused by its name. */
export function inferOutputs(node: NodeView): TensorType[] {
  const operator = OPERATORS[`${node.domain}:${node.type}`]
  if (!operator) {
    const name = node.domain ? `${node.domain}.${node.type}` : node.type
    throw graphBug(`the operator ${name} is not in the table: add its rule, or say what its outputs are`)
  }
  const types = operator.infer(node)
  if (types.length < node.count) throw graphBug(`${node.type} has ${types.length} outputs, not ${node.count}`)
  return types
}
