/**
 * From what oclif's parser throws to our usage errors: one plain sentence and what to try. The parser's
 * classes are told apart by name, because not all of them are exported.
 */
import { errorText, usageError, VtpError } from '../../errors.js'
import { didYouMean } from './suggest.js'

interface ParserError extends Error {
  oclif?: { exit?: number }
  flags?: string[]
  args?: { name?: string }[] | string[]
}

/** The parser's text without its advertisement and its line breaks. */
function plainText(error: Error): string {
  return error.message
    .replace(/\n?See more help with --help\s*$/g, '')
    .replace(/\n?See more help with --help/g, '')
    .replace(/\s+/g, ' ')
    .trim()
}

function isParserError(error: unknown): error is ParserError {
  return error instanceof Error && typeof (error as ParserError).oclif === 'object'
}

/** Sentences that the parser writes for one flag, in words that say what was seen and what was expected. */
function valueError(text: string, helpHint: string): VtpError | undefined {
  const choice = /^(?:Parsing --\S+ )?Expected --([\w-]+)=(.*) to be one of: (.*)$/.exec(text)
  if (choice) {
    const [, flag, value, options] = choice
    const near = didYouMean(value!, options!.split(', '))
    return usageError('bad_value', `--${flag}: "${value}" is not one of ${options}`, [
      near ? `did you mean "${near}"?` : helpHint,
    ])
  }
  const number = /^Parsing --([\w-]+) Expected an integer(.*?) but received: (.*)$/.exec(text)
  if (number) {
    const [, flag, range, value] = number
    const expected = `a whole number${range!.replace('greater than or equal to', 'of at least').replace('less than or equal to', 'of at most')}`
    return usageError('bad_value', `--${flag}: "${value}" is not ${expected}`, [helpHint])
  }
  const valueless = /^Flag --([\w-]+) expects (.*)$/.exec(text)
  if (valueless) return usageError('missing_value', `--${valueless[1]} needs a value`, [helpHint])
  return undefined
}

/** `command` is the id for people, e.g. `model info`; `flags` are the names of its flags. */
export function translateParserError(error: unknown, command: string, flags: readonly string[]): VtpError | undefined {
  if (!isParserError(error) || error instanceof VtpError) return undefined
  const helpHint = `\`vtp ${command} --help\` explains every flag`
  switch (error.constructor.name) {
    case 'NonExistentFlagsError': {
      const unknown = error.flags ?? []
      const suggestions = unknown.flatMap((flag) => {
        const near = flag.startsWith('--')
          ? didYouMean(flag.replace(/^--(no-)?/, '').replace(/=.*/, ''), flags)
          : undefined
        return near ? [`did you mean --${near}?`] : []
      })
      return usageError('unknown_flag', `vtp ${command} has no flag ${unknown.join(' or ')}`, [
        ...suggestions,
        helpHint,
      ])
    }
    case 'RequiredArgsError': {
      const names = (error.args ?? []).map((arg) => (typeof arg === 'string' ? arg : (arg.name ?? '?')).toUpperCase())
      return usageError('missing_argument', `vtp ${command} needs ${names.join(' and ')}`, [helpHint])
    }
    case 'UnexpectedArgsError':
      return usageError(
        'unexpected_argument',
        `vtp ${command}: unexpected argument ${(error.args ?? []).map((a) => JSON.stringify(a)).join(', ')}`,
        ['put values with spaces or special characters in quotes', helpHint],
      )
    case 'FailedFlagValidationError': {
      const text = plainText(error).replace(/^The following errors? occurred: /, '')
      const missing = [...text.matchAll(/Missing required flag (\S+)/g)].map((match) => `--${match[1]}`)
      if (missing.length > 0)
        return usageError('missing_flag', `vtp ${command} needs ${missing.join(' and ')}`, [helpHint])
      return usageError('bad_flags', `vtp ${command}: ${text}`, [helpHint])
    }
    default: {
      const text = plainText(error)
      return valueError(text, helpHint) ?? usageError('bad_usage', text, [helpHint])
    }
  }
}

/** "command foo not found" of oclif → a usage error that names the nearest command. */
export function unknownCommand(typed: string, commands: readonly string[]): VtpError {
  const list = '`vtp --help` lists the commands'
  if (typed.startsWith('-')) {
    return usageError('unknown_flag', `vtp has no flag ${typed}; flags come after the command`, [list])
  }
  const near = didYouMean(typed, commands)
  return usageError(
    'unknown_command',
    `vtp has no command "${typed}"`,
    near ? [`did you mean \`vtp ${near}\`?`, list] : [list],
  )
}

/** Whether oclif says that it knows no such command. */
export function isCommandNotFound(error: unknown): boolean {
  return isParserError(error) && /^command .* not found$/.test(errorText(error))
}
