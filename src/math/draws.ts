/**
 * Random draws as functions of (seed, step, sample, view) alone: Philox4x32-10 with the seed as key and (block, view,
 * sample, step) as counter. What is drawn does not depend on what was drawn before it elsewhere, so that a run goes on
 * after an interruption as if there had been none.
 */
import { halves, philox4x32, unit } from './philox.js'

/** A source of draws; bounds are included. `uniform` may be asked with low > high. */
export interface Draws {
  uniform(low: number, high: number): number
  integer(low: number, high: number): number
  /** A permutation of 0…n − 1. */
  shuffle(n: number): number[]
}

export interface DrawPlace {
  /** 0 … 2^53 − 1 */
  seed: number
  /** 0 … 2^32 − 1, as sample and view. */
  step: number
  sample: number
  view: number
}

export function drawsAt({ seed, step, sample, view }: DrawPlace): Draws {
  const key = halves(seed)
  let block = 0
  let words: number[] = []
  const next = (): number => {
    if (words.length === 0) words = philox4x32([block++, view, sample, step], key)
    return unit(words.shift()!, words.shift()!)
  }
  const integer = (low: number, high: number): number => low + Math.floor(next() * (high - low + 1))
  return {
    uniform: (low, high) => low + (high - low) * next(),
    integer,
    shuffle(n) {
      const order = Array.from({ length: n }, (_, i) => i)
      for (let i = n - 1; i > 0; i--) {
        const j = integer(0, i)
        ;[order[i], order[j]] = [order[j]!, order[i]!]
      }
      return order
    },
  }
}
