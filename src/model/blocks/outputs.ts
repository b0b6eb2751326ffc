/** What every image tower gives of its tokens: `cls`, `patches`, and those of single blocks. */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { addCast } from '../../graph/linear.js'
import { activationDtype } from '../../graph/precision.js'
import type { TensorColumn } from '../../types.js'
import type { EncoderSpec } from '../image-model.js'
import type { TowerTokens } from './image-tower.js'
import { takeToken, takeTokens } from './pooling.js'

/** Declares the outputs that the spec asks for. A tower without tokens in front has no `cls`. */
export function emitTokens(graph: GraphBuilder, spec: EncoderSpec, tokens: TowerTokens & { dim: number }): void {
  const { lead, count, dim } = tokens
  const float = activationDtype(spec.precision)
  const emit = (name: string, value: Value, ...rest: number[]): void =>
    graph.output(addCast(graph, value, float, spec.dtype), { name, dtype: spec.dtype, shape: ['N', ...rest] })
  const give = (prefix: string, value: Value, names: { cls: boolean; patches: boolean }): void => {
    if (names.cls && lead > 0) emit(`${prefix}cls`, takeToken(graph, value), dim)
    if (names.patches) emit(`${prefix}patches`, takeTokens(graph, value, lead, lead + count), count, dim)
  }
  give('', tokens.normed, { cls: spec.outputs.includes('cls'), patches: spec.outputs.includes('patches') })
  for (const [k, value] of tokens.taps) give(`layer_${k}_`, value, { cls: true, patches: true })
}

/** Their columns for one image, float32. */
export function tokenColumns(count: number, dim: number, cls: boolean, layers: readonly number[] = []): TensorColumn[] {
  const column = (name: string, ...shape: number[]): TensorColumn => ({ name, dtype: 'float32', shape })
  const of = (prefix: string): TensorColumn[] => [
    ...(cls ? [column(`${prefix}cls`, dim)] : []),
    column(`${prefix}patches`, count, dim),
  ]
  return [...of(''), ...layers.flatMap((k) => of(`layer_${k}_`))]
}
