import { describe, expect, it } from 'vitest'
import { backoff, jittered, retry } from './retry.js'

describe('retry', () => {
  it('gives the first result, and asks before every further try', async () => {
    const asked: [string, number][] = []
    const result = await retry(
      async (attempt) => {
        if (attempt < 3) throw new Error(`failure ${attempt}`)
        return attempt
      },
      {
        again: (error, attempt) => {
          asked.push([(error as Error).message, attempt])
          return 0
        },
      },
    )
    expect(result).toBe(3)
    expect(asked).toEqual([
      ['failure 1', 1],
      ['failure 2', 2],
    ])
  })

  it('gives up with the failure, or with the better error that it is given', async () => {
    const fail = async (): Promise<never> => {
      throw new Error('no')
    }
    await expect(retry(fail, { again: () => undefined })).rejects.toThrow('no')
    const again = (): number => {
      throw new Error('no, and here is why')
    }
    await expect(retry(fail, { again })).rejects.toThrow('and here is why')
  })

  it('stops waiting when it is told to, with the reason', async () => {
    const stop = new AbortController()
    let tries = 0
    const waiting = retry(
      async () => {
        tries++
        throw new Error('busy')
      },
      {
        signal: stop.signal,
        again: () => {
          queueMicrotask(() => stop.abort(new Error('enough')))
          return 3_600_000
        },
      },
    )
    await expect(waiting).rejects.toThrow('enough')
    expect(tries).toBe(1)
  })
})

describe('the waiting time', () => {
  it('doubles up to its limit, and is spread over its second half', () => {
    expect([1, 2, 3, 9].map((attempt) => backoff(attempt, 100, 1000))).toEqual([100, 200, 400, 1000])
    for (let i = 0; i < 100; i++) {
      const wait = jittered(100)
      expect(wait).toBeGreaterThanOrEqual(50)
      expect(wait).toBeLessThanOrEqual(100)
    }
  })
})
