/** What a training state holds: tensors by the names of the reference's state dict. */
import type { DitConfig } from '../model/lightningdit/config.js'
import { expectedDitTensors, isBuffer } from '../model/lightningdit/tensors.js'

/** What is kept of every tensor, by the names that a checkpoint has for it. */
export const STATE_KINDS = ['param', 'exp_avg', 'exp_avg_sq', 'ema'] as const
export type StateKind = (typeof STATE_KINDS)[number]

/** The position embedding is fixed in the reference: it has no gradient, and an average all the same. */
export function isFrozen(name: string): boolean {
  return name === 'pos_embed'
}

/** Tensors of a state dict that a training state holds, with their shapes: all but RoPE's tables. */
export function stateTensors(config: DitConfig): Map<string, number[]> {
  return new Map([...expectedDitTensors(config)].filter(([name]) => !isBuffer(name)))
}

const LETTERS: Readonly<Record<StateKind, string>> = { param: 'w', exp_avg: 'm', exp_avg_sq: 'v', ema: 'e' }

/** Name of the graph's input for a state. */
export const stateInput = (kind: StateKind, name: string): string => `${LETTERS[kind]}.${name}`

/** Name of a parameter's input. */
export const parameterInput = (name: string): string => stateInput('param', name)

/** Whether a tensor has a state of this kind. */
export function hasState(kind: StateKind, name: string): boolean {
  return !isFrozen(name) || kind === 'param' || kind === 'ema'
}
