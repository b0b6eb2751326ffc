/**
 * Values of flags that come from somewhere else than the command line: `VTP_<FLAG_NAME>` in the
 * environment, and a YAML file with the flags' names as keys. The command line wins over the
 * environment, which wins over the file. Values are turned into the tokens that a person would have
 * typed, so that they are checked by the same parser.
 */
import { usageError } from '../../errors.js'
import { envName } from './declare.js'
import { didYouMean } from './suggest.js'
import { isServiceLink } from './variables.js'

/** What is needed of a flag's definition. */
export interface FlagShape {
  type: 'boolean' | 'option'
  char?: string
  aliases?: string[]
  allowNo?: boolean
  multiple?: boolean
}
export type FlagShapes = Record<string, FlagShape>

/** A value found outside the command line, and where. */
export interface OutsideValue {
  flag: string
  tokens: string[]
  /** For error messages: `VTP_MODEL`, or `"model" in run.yaml`. */
  from: string
}

/** Names of the flags that stand on a command line (up to `--`). */
export function flagsOnCommandLine(argv: readonly string[], flags: FlagShapes): Set<string> {
  const end = argv.indexOf('--')
  const tokens = end === -1 ? argv : argv.slice(0, end)
  const found = new Set<string>()
  for (const [name, flag] of Object.entries(flags)) {
    const long = [name, ...(flag.aliases ?? [])].flatMap((n) => (flag.allowNo ? [`--${n}`, `--no-${n}`] : [`--${n}`]))
    const isHere = tokens.some(
      (token) =>
        long.some((option) => token === option || token.startsWith(`${option}=`)) ||
        (flag.char !== undefined && token.startsWith(`-${flag.char}`)),
    )
    if (isHere) found.add(name)
  }
  return found
}

const TRUE = /^(1|true|yes|on)$/i
const FALSE = /^(0|false|no|off)$/i

function tokensFor(name: string, flag: FlagShape, value: unknown, from: string): string[] {
  if (flag.type === 'boolean') {
    const text = String(value)
    if (TRUE.test(text)) return [`--${name}`]
    if (FALSE.test(text)) return flag.allowNo ? [`--no-${name}`] : []
    throw usageError('bad_value', `${from} is ${JSON.stringify(value)}, but true or false was expected`, [
      'write true or false',
    ])
  }
  const values = Array.isArray(value) ? value : [value]
  for (const item of values) {
    if (typeof item !== 'string' && typeof item !== 'number' && typeof item !== 'boolean') {
      throw usageError('bad_value', `${from} is ${JSON.stringify(value)}, but a text or a number was expected`, [
        Array.isArray(value)
          ? 'write a list of texts or numbers'
          : 'write one value, in quotes if it has special characters',
      ])
    }
  }
  if (flag.multiple) return values.flatMap((item) => [`--${name}`, String(item)])
  return [`--${name}`, values.map(String).join(',')]
}

/** Values of the environment for flags that are not in `except`. An empty variable counts as absent. */
export function valuesFromEnv(env: NodeJS.ProcessEnv, flags: FlagShapes, except: ReadonlySet<string>): OutsideValue[] {
  const found: OutsideValue[] = []
  for (const [name, flag] of Object.entries(flags)) {
    const variable = envName(name)
    const value = env[variable]
    if (value === undefined || value === '' || except.has(name) || isServiceLink(variable, value)) continue
    found.push({ flag: name, tokens: tokensFor(name, flag, value, variable), from: variable })
  }
  return found
}

/** Values of a configuration for flags that are not in `except`. Every key must be a flag of this command. */
export function valuesFromConfig(
  config: Record<string, unknown>,
  file: string,
  flags: FlagShapes,
  except: ReadonlySet<string>,
): OutsideValue[] {
  const known = Object.keys(flags).filter((name) => name !== 'config')
  const found: OutsideValue[] = []
  for (const [key, value] of Object.entries(config)) {
    const flag = known.includes(key) ? flags[key] : undefined
    if (!flag) {
      const near = didYouMean(key.replaceAll('_', '-'), known)
      throw usageError('unknown_config_key', `${file}: unknown key "${key}"`, [
        near ? `did you mean "${near}"?` : 'keys are the names of the flags, without the dashes',
      ])
    }
    if (value === null || except.has(key)) continue
    const from = `"${key}" in ${file}`
    found.push({ flag: key, tokens: tokensFor(key, flag, value, from), from })
  }
  return found
}

/** `argv` with the outside values put where the parser takes them for flags. */
export function injectValues(argv: readonly string[], values: readonly OutsideValue[]): string[] {
  const tokens = values.flatMap((value) => value.tokens)
  const end = argv.indexOf('--')
  return end === -1 ? [...argv, ...tokens] : [...argv.slice(0, end), ...tokens, ...argv.slice(end)]
}
