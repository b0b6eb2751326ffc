import fc from 'fast-check'
import { expect, it } from 'vitest'
import { parsePyYaml, plainScalar } from './pyyaml.js'

/** What PyYAML 6.0.4's safe_load gives for "a: SCALAR". */
const SCALARS: Record<string, unknown> = {
  '50_000': 50000,
  '1e-4': '1e-4',
  '1.0e-4': 0.0001,
  '1.e-4': 0.0001,
  '1.0e4': '1.0e4',
  '1.0e+4': 10000,
  on: true,
  Off: false,
  yes: true,
  NO: false,
  y: 'y',
  n: 'n',
  tRue: 'tRue',
  '~': null,
  Null: null,
  nULL: 'nULL',
  none: 'none',
  '010': 8,
  '0o10': '0o10',
  '-010': -8,
  '08': '08',
  '0x1F': 31,
  '0X1f': '0X1f',
  '0b101': 5,
  '+12': 12,
  '1_2_3': 123,
  _1: '_1',
  '190:20:30': 685230,
  '-1:30': -90,
  '1:60': '1:60',
  '190:20:30.15': 685230.15,
  '.5': 0.5,
  '-.5': '-.5',
  '5.': 5,
  '1_0.5': 10.5,
  '.inf': Number.POSITIVE_INFINITY,
  '-.Inf': Number.NEGATIVE_INFINITY,
  '.NaN': Number.NaN,
  '1.2.3': '1.2.3',
  '2001-01-01': '2001-01-01',
}

it.each(Object.entries(SCALARS))('reads %s as PyYAML does', (text, expected) => {
  expect(parsePyYaml(`a: ${text}\n`)).toEqual({ a: expected })
  // In quotes it is a text, with a tag what the tag says.
  expect(parsePyYaml(`a: "${text}"\nb: '${text}'\nc: !!str ${text}\n`)).toEqual({ a: text, b: text, c: text })
})

it('keeps structure, anchors and merge keys; keys are scalars, too', () => {
  const text = 'base: &b {lr: 1_0, on: 2}\nx:\n  <<: *b\n  y: [1, no, "no", ]\nempty:\nf: !!float 3\n'
  expect(parsePyYaml(text)).toEqual({
    base: { lr: 10, true: 2 },
    x: { lr: 10, true: 2, y: [1, false, 'no'] },
    empty: null,
    f: 3,
  })
  expect(() => parsePyYaml('a: [1')).toThrow()
})

it('a scalar is a finite number, a text, a truth value or nothing, whatever it is made of', () => {
  const unit = fc.constantFrom(...'0123456789_.:eE+-xbon ')
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 8 }), (text) => {
      const value = plainScalar(text)
      if (typeof value === 'string') expect(value).toBe(text)
    }),
  )
})
