/** Runs the command that the arguments name by oclif, and puts what fails outside of commands into words. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { Config, Errors, flush, type Interfaces, run } from '@oclif/core'
import { EXIT } from '../errors.js'
import { isCommandNotFound, translateParserError, unknownCommand } from './flags/parse-errors.js'
import { reportError } from './terminal/report.js'

export interface ProgramOptions {
  /** The folder that holds package.json. */
  root: string
  /** Whether errors are printed as JSON. */
  json: boolean
}

/** Resolves with the exit code of a command that failed, when it has said why. */
export async function runProgram(argv: string[], options: ProgramOptions): Promise<number | undefined> {
  try {
    await run(argv, { root: options.root, pjson: packageFor(argv, options.root) })
    flush()
    return undefined
  } catch (error) {
    return failed(error, argv, options)
  }
}

/** package.json; without plugins where the first word is no command of theirs: looking for them takes a while. */
function packageFor(argv: string[], root: string): Interfaces.PJSON {
  const pjson = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as Interfaces.PJSON
  const [first = ''] = argv
  const plugins = /^(-.*|autocomplete|)$/.test(first) ? pjson.oclif.plugins : []
  return { ...pjson, oclif: { ...pjson.oclif, plugins } }
}

async function failed(error: unknown, argv: string[], { root, json }: ProgramOptions): Promise<number> {
  // The command has said it already, or wants to end.
  if (error instanceof Errors.ExitError) return error.oclif.exit ?? EXIT.ok
  const config = await Config.load({ root }).catch(() => undefined)
  const commands = config?.commandIDs.map((id) => id.replaceAll(':', ' ')) ?? []
  if (isCommandNotFound(error)) return reportError(unknownCommand(typedCommand(argv, commands), commands), { json })
  return reportError(translateParserError(error, '', []) ?? error, { json })
}

/** The words that were meant as a command: one, or two when the first is a topic. A flag in front stands for itself. */
function typedCommand(argv: string[], commands: string[]): string {
  if (argv[0]?.startsWith('-')) return argv[0]
  const words = argv.filter((token) => !token.startsWith('-'))
  const isTopic = commands.some((command) => command.startsWith(`${words[0]} `))
  return words.slice(0, isTopic ? 2 : 1).join(' ')
}
