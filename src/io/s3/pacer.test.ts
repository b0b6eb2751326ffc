import { expect, it } from 'vitest'
import { createPacer } from './pacer.js'

it('bounds what runs at once, and halves the bound when the service asks for it, once per burst', async () => {
  let time = 0
  const pacer = createPacer({ initial: 8, max: 16, now: () => time })
  let active = 0
  let most = 0
  const request = async (): Promise<void> => {
    most = Math.max(most, ++active)
    await new Promise((resolve) => setImmediate(resolve))
    active--
  }
  await Promise.all(Array.from({ length: 50 }, () => pacer.run(request)))
  expect(most).toBe(8)
  for (let i = 0; i < 8; i++) pacer.slowDown()
  expect(pacer.limit).toBe(4)
  time = 1000
  pacer.slowDown()
  expect(pacer.limit).toBe(2)
  most = 0
  await Promise.all(Array.from({ length: 10 }, () => pacer.run(request)))
  expect(most).toBe(2)
})

it('never stops altogether, and finds its way up again, to its maximum', () => {
  let time = 0
  const pacer = createPacer({ initial: 8, max: 16, now: () => time })
  for (let i = 0; i < 20; i++) {
    time += 1000
    pacer.slowDown()
  }
  expect(pacer.limit).toBe(1)
  for (let i = 0; i < 1000; i++) pacer.succeeded()
  expect(pacer.limit).toBe(16)
})

it('gives its place back when a request fails', async () => {
  const pacer = createPacer({ initial: 1, max: 1 })
  await expect(pacer.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(await pacer.run(async () => 'yes')).toBe('yes')
})
