import { BaseCommand } from '../cli/base-command.js'
import { RUN_ARG } from '../cli/flags/run-flags.js'

export default class Finalize extends BaseCommand<typeof Finalize> {
  static override summary = 'Write the manifest and the statistics of a run whose units are all committed.'
  static override description =
    `The worker that commits the last unit does this by itself; the command is for runs whose last worker died
right then. It may be run at any time and any number of times.

Exit codes: 0 written; 1 units are not committed yet.`
  static override examples = [
    { description: 'After the workers', command: '<%= config.bin %> <%= command.id %> s3://data/latents' },
  ]

  static override args = { dest: RUN_ARG }

  async run(): Promise<unknown> {
    const { args } = await this.input(Finalize)
    const { runFinalizeCommand } = await import('../cli/run/run-commands.js')
    return runFinalizeCommand(this.context(), args.dest)
  }
}
