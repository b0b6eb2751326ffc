import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  formatBytes,
  formatCommitted,
  formatCount,
  formatDuration,
  formatPercent,
  formatRate,
  formatTable,
  shellWord,
  wrapWords,
} from './format.js'

describe('formatBytes', () => {
  it('uses decimal units with three digits', () => {
    expect(formatBytes(0)).toBe('0 B')
    expect(formatBytes(999)).toBe('999 B')
    expect(formatBytes(1000)).toBe('1.00 kB')
    expect(formatBytes(1_234_567)).toBe('1.23 MB')
    expect(formatBytes(12_345_678_901)).toBe('12.3 GB')
    expect(formatBytes(-2000)).toBe('-2.00 kB')
  })

  it('never shows more than three digits before the unit changes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 48 }), (bytes) => {
        expect(formatBytes(bytes)).toMatch(/^(\d{1,3}|\d\.\d\d|\d\d\.\d) (B|kB|MB|GB|TB)$/)
      }),
    )
  })
})

describe('formatCount', () => {
  it('groups thousands', () => {
    expect(formatCount(0)).toBe('0')
    expect(formatCount(999)).toBe('999')
    expect(formatCount(1000)).toBe('1,000')
    expect(formatCount(1_281_167)).toBe('1,281,167')
    expect(formatCount(-1234.9)).toBe('-1,234')
  })
})

describe('formatDuration', () => {
  it('shows the two largest units', () => {
    expect(formatDuration(0.44)).toBe('0.4 s')
    expect(formatDuration(9.97)).toBe('10 s')
    expect(formatDuration(59.6)).toBe('1 min 00 s')
    expect(formatDuration(75)).toBe('1 min 15 s')
    expect(formatDuration(3599.7)).toBe('1 h 00 min')
    expect(formatDuration(7265)).toBe('2 h 01 min')
    expect(formatDuration(90_000)).toBe('1 d 1 h')
    expect(formatDuration(Number.NaN)).toBe('?')
  })
})

describe('formatRate and formatPercent', () => {
  it('keep three digits', () => {
    expect(formatRate(5.678, 'images/s')).toBe('5.68 images/s')
    expect(formatRate(56.78, 'images/s')).toBe('56.8 images/s')
    expect(formatRate(1234.5, 'images/s')).toBe('1,235 images/s')
    expect(formatPercent(0.1234)).toBe('12.3 %')
  })
})

describe('formatTable', () => {
  it('aligns columns and leaves no trailing spaces', () => {
    const rows = [
      ['name', 'parameters'],
      ['encoder', '3.1 M'],
      ['x', ''],
    ]
    expect(formatTable(rows, { right: [1], indent: '  ' })).toEqual([
      '  name     parameters',
      '  encoder       3.1 M',
      '  x',
    ])
  })
})

describe('formatCommitted', () => {
  it('says how far a run is, in words', () => {
    expect(formatCommitted(0, 1)).toBe('no unit is committed yet')
    expect(formatCommitted(1, 3)).toBe('1 of 3 units is committed')
    expect(formatCommitted(2, 3)).toBe('2 of 3 units are committed')
  })
})

describe('wrapWords', () => {
  it('breaks between words, and leaves a word alone that is longer than a row', () => {
    expect(wrapWords('one two three', 8)).toBe('one two\n  three')
    expect(wrapWords('a/very/long/path is here', 10)).toBe('a/very/long/path\n  is here')
    expect(wrapWords('  cells   kept', 80)).toBe('  cells   kept')
  })

  it('keeps every word, no row wider than asked for, and none but the first at the margin', () => {
    const words = fc.array(fc.string({ minLength: 1, maxLength: 12, unit: fc.constantFrom('a', ':', 'É') }), {
      minLength: 1,
    })
    fc.assert(
      fc.property(words, fc.integer({ min: 16, max: 60 }), (list, width) => {
        const rows = wrapWords(list.join(' '), width).split('\n')
        expect(rows.join(' ').split(/\s+/)).toEqual(list)
        for (const row of rows) expect(row.length).toBeLessThanOrEqual(width)
        for (const row of rows.slice(1)) expect(row).toMatch(/^ {2}\S/)
      }),
    )
  })
})

it('a word for a shell is quoted where it must be', () => {
  expect(shellWord('ex/launch.sh')).toBe('ex/launch.sh')
  expect(shellWord("it's ö/launch.sh")).toBe("'it'\\''s ö/launch.sh'")
})
