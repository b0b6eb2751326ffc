import { describe, expect, it } from 'vitest'
import { createPace } from './meter.js'

describe('the pace of a run', () => {
  it('is not told by the time that the model took to open', () => {
    const pace = createPace()
    expect(pace.of(0, 60_000)).toBeUndefined()
    expect(pace.of(8, 60_100)).toBeUndefined()
    expect(pace.of(16, 60_200)).toBeUndefined()
    expect(pace.of(88, 64_100)).toBe(20)
  })

  it('is not known while no further image is done', () => {
    const pace = createPace()
    expect(pace.of(8, 0)).toBeUndefined()
    expect(pace.of(8, 60_000)).toBeUndefined()
  })
})
