import { expect, it } from 'vitest'
import { createScratch } from './scratch.js'

it('memory is lent to one at a time, and again once it is given back, also for less', () => {
  const scratch = createScratch()
  const first = scratch.take(1000)
  const second = scratch.take(1000)
  expect(second.buffer).not.toBe(first.buffer)
  expect([first.length, scratch.giveBack(first.buffer)]).toEqual([1000, true])
  const third = scratch.take(600)
  expect([third.buffer === first.buffer, third.length]).toEqual([true, 600])
  expect(scratch.take(600).buffer).not.toBe(first.buffer)
})

it('the largest is kept; what is too small, too large, foreign or given back already is not', () => {
  const scratch = createScratch()
  const [small, large, huge] = [scratch.take(10), scratch.take(100), scratch.take(65 * 2 ** 20)]
  expect(scratch.giveBack(large.buffer)).toBe(true)
  expect(scratch.giveBack(large.buffer)).toBe(false)
  expect(scratch.giveBack(small.buffer)).toBe(false)
  expect(scratch.giveBack(huge.buffer)).toBe(false)
  expect(scratch.giveBack(new ArrayBuffer(200))).toBe(false)
  expect(scratch.take(50).buffer).toBe(large.buffer)
})
