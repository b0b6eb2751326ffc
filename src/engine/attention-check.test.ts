import { describe, expect, it } from 'vitest'
import { checkAttention, needsCheck, relativeError } from './attention-check.js'

describe('the check of a provider', () => {
  it.each([
    ['cpu', false],
    ['cuda:1', false],
    ['webgpu', true],
    ['coreml', true],
    ['dml', true],
  ])('%s is checked: %s', (provider, checked) => {
    expect(needsCheck(provider)).toBe(checked)
  })

  it('accepts the CPU', async () => {
    await expect(checkAttention('cpu')).resolves.toBeUndefined()
  })

  it('sees an error of 3 %, and numbers that are none', () => {
    const right = Float32Array.of(1, -2, 3)
    expect(relativeError(right, right)).toBe(0)
    expect(
      relativeError(
        right,
        right.map((x) => 1.03 * x),
      ),
    ).toBeCloseTo(0.03, 5)
    expect(relativeError(right, Float32Array.of(1, Number.NaN, 3))).toBeNaN()
  })
})
