/**
 * The base of every command: the global flags, where values of flags come from (command line, then
 * `VTP_*`, then `--config FILE`), `--json`, and how errors become text and exit codes. A command
 * parses with `this.input(Ctor)`, calls one function and returns the object that `--json` prints.
 *
 * Commands import their features inside `run()`, so that `--help` and usage errors stay fast.
 */
import { Command, Errors, Flags, type Interfaces } from '@oclif/core'
import { type ExitCode, VtpError } from '../errors.js'
import { onCacheNote } from '../io/cache.js'
import {
  type FlagShapes,
  flagsOnCommandLine,
  injectValues,
  type OutsideValue,
  valuesFromConfig,
  valuesFromEnv,
} from './flags/config-file.js'
import { declareFlags, withoutParserWords } from './flags/declare.js'
import { translateParserError } from './flags/parse-errors.js'
import { assertKnownVariables, dropServiceLinks } from './flags/variables.js'
import { reportError } from './terminal/report.js'
import { createTerminal, printJson, type Terminal } from './terminal/terminal.js'

/** What a command hands down to the functions that do its work. */
export interface CommandContext {
  /** Where text for people goes; it knows whether `--json` is on. */
  readonly terminal: Terminal
  /** Sets the exit code of a command that ends without an error (rejects, interrupted). */
  exitCode(code: ExitCode): void
}

type FlagsOf<C extends typeof Command> = Interfaces.InferredFlags<(typeof BaseCommand)['baseFlags'] & C['flags']>
type ArgsOf<C extends typeof Command> = Interfaces.InferredArgs<C['args']>

export abstract class BaseCommand<_C extends typeof Command = typeof Command> extends Command {
  static override baseFlags = declareFlags({
    json: Flags.boolean({
      default: false,
      summary: 'Print one JSON object on stdout (and errors as {"error": …}).',
      helpGroup: 'GLOBAL',
    }),
    config: Flags.string({
      summary: 'Take flags from a YAML file with their names as keys. The command line and VTP_* variables win.',
      helpValue: 'FILE.yaml',
      helpGroup: 'GLOBAL',
    }),
  })

  private json: boolean | undefined
  private outside: OutsideValue[] = []

  /** The arguments and flags, from the command line, the environment and the configuration file. Throws usage errors. */
  protected async input<C extends typeof Command>(ctor: C): Promise<{ args: ArgsOf<C>; flags: FlagsOf<C> }> {
    assertKnownVariables(
      process.env,
      this.config.commands.flatMap((command) => Object.keys(command.flags)),
    )
    dropServiceLinks(process.env)
    const definitions = { ...BaseCommand.baseFlags, ...ctor.flags }
    const shapes = definitions as unknown as FlagShapes
    const given = flagsOnCommandLine(this.argv, shapes)
    const fromEnv = valuesFromEnv(process.env, shapes, given)
    const file = this.configFile(given, fromEnv)
    const taken = new Set([...given, ...fromEnv.map((value) => value.flag)])
    const fromFile = file === undefined ? [] : valuesFromConfig(await readConfig(file), file, shapes, taken)
    this.outside = [...fromEnv, ...fromFile]
    try {
      const parsed = await this.parse(ctor as never, injectValues(this.argv, this.outside))
      this.json = (parsed.flags as { json?: boolean }).json === true
      return parsed as unknown as { args: ArgsOf<C>; flags: FlagsOf<C> }
    } catch (error) {
      const own = withoutParserWords(error)
      throw translateParserError(own, this.commandName(), Object.keys(definitions)) ?? own
    }
  }

  protected context(): CommandContext {
    const terminal = createTerminal({ json: this.jsonEnabled() })
    onCacheNote(terminal.note)
    return {
      terminal,
      exitCode: (code) => {
        process.exitCode = code
      },
    }
  }

  override jsonEnabled(): boolean {
    if (this.json !== undefined) return this.json
    // Before parsing, and when parsing fails.
    const shapes = { json: { type: 'boolean' } } as const
    return (
      flagsOnCommandLine(this.argv, shapes).has('json') || this.outside.some((value) => value.tokens.includes('--json'))
    )
  }

  override logJson(value: unknown): void {
    printJson(value)
  }

  /** Prints the error; the process ends with its exit code (main.ts). */
  protected override async catch(error: unknown): Promise<never> {
    if (error instanceof Errors.ExitError) throw error
    const code = reportError(this.withOrigins(error), { json: this.jsonEnabled() })
    throw new Errors.ExitError(code)
  }

  /** Says where a wrong value comes from when it was not typed. */
  private withOrigins(error: unknown): unknown {
    if (!(error instanceof VtpError)) return error
    const origins = this.outside.filter((value) => new RegExp(`--${value.flag}(?![\\w-])`).test(error.message))
    if (origins.length === 0) return error
    const suggestions = [
      ...origins.map((value) => `correct ${value.from}, where the value comes from`),
      ...error.suggestions,
    ]
    return new VtpError(error.message, { code: error.code, exitCode: error.exitCode, suggestions, cause: error })
  }

  private configFile(given: ReadonlySet<string>, fromEnv: OutsideValue[]): string | undefined {
    if (!given.has('config')) return fromEnv.find((value) => value.flag === 'config')?.tokens[1]
    const end = this.argv.indexOf('--')
    const argv = end === -1 ? this.argv : this.argv.slice(0, end)
    const at = argv.findIndex((token) => token === '--config' || token.startsWith('--config='))
    return argv[at]!.startsWith('--config=') ? argv[at]!.slice('--config='.length) : argv[at + 1]
  }

  private commandName(): string {
    return (this.id ?? '').replaceAll(':', ' ')
  }
}

/** The library that reads it is loaded where there is one. */
async function readConfig(file: string): Promise<Record<string, unknown>> {
  return (await import('./flags/read-config.js')).readConfigFile(file)
}
