/**
 * How flags are declared: each with its variable of the environment, so that `--help` names it, and with the
 * parser of its value, so that commands and functions get values and not texts. The types of both come from the
 * declaration (`FlagValues<typeof ENCODE_FLAGS>`).
 */
import { Flags, type Interfaces } from '@oclif/core'
import { VtpError } from '../../errors.js'

/** `shard-rows` → `VTP_SHARD_ROWS`. */
export function envName(flag: string): string {
  return `VTP_${flag.toUpperCase().replaceAll('-', '_')}`
}

/** The flags, each with its variable. */
export function declareFlags<F extends Record<string, object>>(flags: F): F {
  return Object.fromEntries(Object.entries(flags).map(([name, flag]) => [name, { ...flag, env: envName(name) }])) as F
}

type Inferred<F> = Omit<Interfaces.InferredFlags<F>, 'json'>

/** What a command gets for its flags; those without a default may be absent. */
export type FlagValues<F> = {
  [K in keyof Inferred<F> as undefined extends Inferred<F>[K] ? never : K]: Inferred<F>[K]
} & { [K in keyof Inferred<F> as undefined extends Inferred<F>[K] ? K : never]?: Inferred<F>[K] }

interface ValueFlagOptions {
  summary: string
  description?: string
  char?: Interfaces.AlphabetLowercase | Interfaces.AlphabetUppercase
  helpValue?: string
  helpGroup?: string
  exclusive?: string[]
}

/** Turns the text of a flag into its value; throws a usage error that names the flag (`--max-bad`). */
export type ParseValue<T> = (flag: string, text: string) => T

/** A flag whose value has a syntax of its own. The default is text, too, as help shows it. */
export function valueFlag<T>(
  parse: ParseValue<T>,
  options: ValueFlagOptions & { default: string },
): Interfaces.OptionFlag<T>
export function valueFlag<T>(parse: ParseValue<T>, options: ValueFlagOptions): Interfaces.OptionFlag<T | undefined>
export function valueFlag<T>(
  parse: ParseValue<T>,
  { default: text, ...options }: ValueFlagOptions & { default?: string },
): unknown {
  const preset = text !== undefined && { default: async () => parse('', text), defaultHelp: async () => text }
  return Flags.custom<unknown>({
    ...options,
    ...preset,
    parse: async (input, _context, { name }) => parse(`--${name}`, input),
  })()
}

/** oclif puts its own words around what a parser of a value throws; this takes them away. */
export function withoutParserWords(error: unknown): unknown {
  if (!(error instanceof VtpError)) return error
  const own = /^Parsing --\S+ \n\t([\s\S]*)\nSee more help with --help$/.exec(error.message)?.[1]
  if (own === undefined) return error
  const { code, exitCode, suggestions, cause } = error
  return new VtpError(own, { code, exitCode, suggestions, cause })
}
