/**
 * Rows of three planes -> rows of RGB of half the size, once or several times: what Pillow's box filter gives where
 * both sides are even. Its weights are two halves there, so that every pass is a mean of two, rounded up: across
 * first, then down.
 */
import { reserve } from './reserve'
import { LINE_SLACK, writePlanes } from './rgb'

const MOST: i32 = 16
const CHANNELS: usize = 3

let halvings: i32 = 0
let width: i32 = 0
/** Bytes from a channel of a line to the next. */
let stride: usize = 0
/** The row that comes in. */
let row: usize = 0
/** Per halving: a row that waits for the one below it, then their mean. */
const lines = new StaticArray<usize>(MOST)
const isHeld = new StaticArray<bool>(MOST)

/** `rowWidth` pixels, a multiple of two to the power of `count`. False if there is not enough memory. */
export function openHalving(rowWidth: i32, count: i32): bool {
  halvings = count
  width = rowWidth
  stride = <usize>rowWidth + LINE_SLACK
  if (count > MOST) return false
  row = reserve(stride * CHANNELS)
  for (let k = 0; k < count; k++) {
    lines[k] = reserve(stride * CHANNELS)
    isHeld[k] = false
    if (lines[k] == 0) return false
  }
  return row != 0
}

/** Where channel `c` of the next row goes. */
export function planeOf(c: i32): usize {
  return row + stride * c
}

/** Takes the row that was written to the planes. True if that has completed a row at `to`. */
export function takeRow(to: usize): bool {
  let line = row
  let count = width
  for (let k = 0; k < halvings; k++) {
    const into = lines[k]
    count >>= 1
    for (let c: usize = 0; c < CHANNELS; c++) halveAcross(line + c * stride, into + c * stride, count, isHeld[k])
    isHeld[k] = !isHeld[k]
    if (isHeld[k]) return false
    line = into
  }
  writePlanes(line, line + stride, line + 2 * stride, to, count)
  return true
}

/** Means of neighbours; `withHeld`: then the means of these and of what stands at `to`. */
function halveAcross(from: usize, to: usize, count: i32, withHeld: bool): void {
  for (let x = 0; x < count; x += 16) {
    const a = v128.load(from + (x << 1))
    const b = v128.load(from + (x << 1) + 16)
    const even = v128.shuffle<i8>(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
    const odd = v128.shuffle<i8>(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
    const mean = i8x16.avgr_u(even, odd)
    v128.store(to + x, withHeld ? i8x16.avgr_u(v128.load(to + x), mean) : mean)
  }
}
