/**
 * YAML as PyYAML's `safe_load` reads it, for configuration files of Python programs. Its scalars are those of
 * YAML 1.1, with its own regular expressions (pyyaml, lib/yaml/resolver.py and constructor.py): `50_000` is a
 * number, `010` is 8, `190:20:30` is 685230, `on` is true, and `1e-4` is a text, since a float has a point and
 * an exponent a sign. Dates stay texts.
 */
import { isScalar, parseDocument, visit } from 'yaml'

const BOOLEAN = /^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$/
const NULL = /^(?:~|null|Null|NULL|)$/
const INTEGER =
  /^(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$/
const FLOAT =
  /^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$/

/** The value of a scalar that stands there without quotes. */
export function plainScalar(text: string): string | number | boolean | null {
  if (NULL.test(text)) return null
  if (BOOLEAN.test(text)) return /^(?:yes|true|on)$/i.test(text)
  if (INTEGER.test(text)) return toInteger(text)
  return FLOAT.test(text) ? toFloat(text) : text
}

function signAndDigits(text: string): [sign: number, digits: string] {
  const plain = text.replaceAll('_', '')
  return [plain.startsWith('-') ? -1 : 1, plain.replace(/^[-+]/, '')]
}

function toInteger(text: string): number {
  const [sign, digits] = signAndDigits(text)
  if (digits.includes(':')) return sign * sexagesimal(digits)
  if (/^0[bx]/.test(digits)) return sign * Number(digits)
  return sign * Number.parseInt(digits, /^0./.test(digits) ? 8 : 10)
}

function toFloat(text: string): number {
  const [sign, digits] = signAndDigits(text.toLowerCase())
  if (digits === '.inf') return sign * Number.POSITIVE_INFINITY
  if (digits === '.nan') return Number.NaN
  return sign * (digits.includes(':') ? sexagesimal(digits) : Number(digits))
}

/** "190:20:30": digits to the base of 60. */
function sexagesimal(digits: string): number {
  return digits.split(':').reduce((sum, part) => sum * 60 + Number(part), 0)
}

const TAGS: Record<string, (text: string) => unknown> = {
  'tag:yaml.org,2002:int': toInteger,
  'tag:yaml.org,2002:float': toFloat,
  'tag:yaml.org,2002:bool': (text) => /^(?:yes|true|on)$/i.test(text),
  'tag:yaml.org,2002:null': () => null,
}

/** The value of a document. Throws an Error for what is no YAML. */
export function parsePyYaml(text: string): unknown {
  // The schema without any scalar but texts: what they mean is decided here.
  const document = parseDocument(text, { version: '1.1', schema: 'failsafe', merge: true, logLevel: 'error' })
  const [error] = document.errors
  if (error) throw error
  visit(document, {
    Scalar(_, node) {
      if (node.tag !== undefined && node.tag in TAGS) node.value = TAGS[node.tag]!(String(node.source ?? ''))
      else if (node.type === 'PLAIN' && (node.tag === undefined || node.tag === ''))
        node.value = plainScalar(node.source ?? '')
    },
    Pair(_, pair) {
      // A key with nothing behind it.
      if (isScalar(pair.value) && pair.value.source === undefined && pair.value.value === '') pair.value.value = null
    },
  })
  return document.toJS({ maxAliasCount: 100 })
}
