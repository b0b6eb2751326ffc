/**
 * The program's entry: every way of failing ends with a clear message and an exit code of the closed list
 * (errors.ts). Nothing else calls `process.exit`, except a second Ctrl-C.
 */
import { EXIT } from '../errors.js'
import { vtpVersion } from '../version.js'
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
    printPlain(`vtp/${vtpVersion()} ${process.platform}-${process.arch} node-${process.version}`)
    return
  }
  const args = argv[0] === 'help' ? [...argv.slice(1), '--help'] : argv
  const { runProgram } = await import('./program.js')
  const code = await runProgram(args, { root, json })
  if (code !== undefined) await exit(code)
}

/** Ends the process after what was written has left it. Threads that still run do not keep it alive. */
async function exit(code: number): Promise<never> {
  for (const stream of [process.stdout, process.stderr]) {
    if (!stream.destroyed) await new Promise<void>((resolve) => stream.write('', () => resolve()))
  }
  process.exit(code)
}
