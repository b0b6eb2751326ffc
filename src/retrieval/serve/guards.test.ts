import { hostname } from 'node:os'
import { describe, expect, it } from 'vitest'
import { hostCheck } from './hosts.js'
import { createLimit } from './limit.js'

describe('a server', () => {
  it('on loopback answers to loopback names only', () => {
    const answers = hostCheck('127.0.0.1')
    expect(['localhost', '127.0.0.1', '[::1]'].every(answers)).toBe(true)
    expect(['evil.example', '192.168.1.5', hostname().toLowerCase(), ''].some(answers)).toBe(false)
  })

  it('for a network answers to addresses and to its own names, never to another that leads here', () => {
    const answers = hostCheck('0.0.0.0')
    expect(['192.168.1.5', '[fe80::1]', 'localhost', hostname().toLowerCase()].every(answers)).toBe(true)
    expect(['evil.example', '192.168.1.5.evil.example', '', '[evil]'].some(answers)).toBe(false)
    expect(hostCheck('Photos.lan')('photos.lan')).toBe(true)
  })

  it('works on two uploads at once, lets some wait, and refuses the rest', async () => {
    const limit = createLimit(2, 3)
    let running = 0
    let most = 0
    const work = (fails: boolean) =>
      limit.run(async () => {
        most = Math.max(most, ++running)
        await new Promise((resolve) => setTimeout(resolve, 5))
        running--
        if (fails) throw new Error('no image')
      })
    const started = [true, false, true, false, false, false, false].map(work)
    expect(started.map((task) => task !== undefined)).toEqual([true, true, true, true, true, false, false])
    const settled = await Promise.allSettled(started.slice(0, 5))
    expect(settled.map(({ status }) => status === 'rejected')).toEqual([true, false, true, false, false])
    expect(most).toBe(2)
    await expect(work(false)).resolves.toBeUndefined()
  })
})
