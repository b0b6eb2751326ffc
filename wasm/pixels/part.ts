/** The part of an image that is wanted, in its pixels, and how often it is halved. */
import { openHalving } from './halve'

export let left: i32 = 0
export let right: i32 = 0
export let top: i32 = 0
export let bottom: i32 = 0
export let halvings: i32 = 0

export function wantWhole(width: i32, height: i32): void {
  left = 0
  top = 0
  right = width
  bottom = height
  halvings = 0
}

/**
 * Says, before `start`, that only a part is wanted, its sides multiples of two to the power of `count`, halved so
 * often. False: give up.
 */
export function choosePart(x: i32, y: i32, partWidth: i32, partHeight: i32, count: i32): bool {
  left = x
  top = y
  right = x + partWidth
  bottom = y + partHeight
  halvings = count
  return count == 0 || openHalving(partWidth, count)
}
