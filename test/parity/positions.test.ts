/** Resampled tables of positions against torch's interpolate, rule by rule. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { openSafetensors } from '../../src/io/safetensors.js'
import { type PositionRule, resamplePositions } from '../../src/model/blocks/positions.js'
import { goldenPath } from '../golden.js'

interface Row {
  index: number
  grid: number
  height: number
  width: number
  rule: string
  tolerance: number
}
const { rows } = JSON.parse(readFileSync(goldenPath('peers', 'pos_embed', 'expected.json'), 'utf8')) as { rows: Row[] }

/** [D, h, w] → [h·w, D]. */
const channelsLast = (values: Float32Array, places: number): Float32Array => {
  const dim = values.length / places
  return Float32Array.from(values, (_, i) => values[(i % dim) * places + Math.floor(i / dim)]!)
}

describe('resampled positions', () => {
  it.each(rows)('$rule from $grid² to $height×$width', async ({ index, grid, height, width, rule, tolerance }) => {
    const file = await openSafetensors(goldenPath('peers', 'pos_embed', 'cases.safetensors'))
    const table = channelsLast(await file.readFloat32(`${index}.in`), grid * grid)
    const wanted = channelsLast(await file.readFloat32(`${index}.out`), height * width)
    await file.close()
    const name = rule.replace('_offset_0.1', '-offset').replace('_', '-') as PositionRule
    const actual = resamplePositions(table, { h: grid, w: grid }, { h: height, w: width }, name)
    expect(actual.length).toBe(wanted.length)
    const worst = Math.max(...wanted.map((value, i) => Math.abs(value - actual[i]!)))
    expect(worst).toBeLessThanOrEqual(tolerance)
  })
})
