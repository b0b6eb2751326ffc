/**
 * The program's entry: runs oclif, and gives every way of failing a clear message and an exit code of
 * the closed list (errors.ts). Nothing else calls `process.exit`, except a second Ctrl-C.
 */
import { createRequire } from 'node:module'
import { EXIT } from '../errors.js'
import { isCommandNotFound, translateParserError, unknownCommand } from './flags/parse-errors.js'
import { reportError } from './terminal/report.js'
import { guardStreams } from './terminal/streams.js'
import { printPlain } from './terminal/terminal.js'

export interface MainOptions {
  /** The folder that holds package.json. */
  root: string
  argv: string[]
}

/** Runs `vtp ARGV…`; resolves when a successful command has ended, and exits the process when one failed. */
export async function main({ root, argv }: MainOptions): Promise<void> {
  guardStreams((code) => void exit(code))
  const json = argv.slice(0, argv.indexOf('--') === -1 ? undefined : argv.indexOf('--')).includes('--json')
  let failing = false
  process.on('uncaughtException', (error) => {
    // Reporting may fail as well; once is enough.
    if (failing) process.exit(EXIT.failed)
    failing = true
    void exit(reportError(error, { json }))
  })
  if (argv.length === 1 && ['--version', '-v', '-V'].includes(argv[0]!)) {
    const { version } = createRequire(import.meta.url)('../../package.json') as { version: string }
    printPlain(`vtp/${version} ${process.platform}-${process.arch} node-${process.version}`)
    return
  }
  const args = argv[0] === 'help' ? [...argv.slice(1), '--help'] : argv
  const oclif = await import('@oclif/core')
  try {
    await oclif.run(args, { root })
    oclif.flush()
  } catch (error) {
    await exit(await failed(error, args, root, json))
  }
}

async function failed(error: unknown, argv: string[], root: string, json: boolean): Promise<number> {
  const { Config, Errors } = await import('@oclif/core')
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

/** Ends the process after what was written has left it. Threads that still run do not keep it alive. */
async function exit(code: number): Promise<never> {
  for (const stream of [process.stdout, process.stderr]) {
    if (!stream.destroyed) await new Promise<void>((resolve) => stream.write('', () => resolve()))
  }
  process.exit(code)
}
