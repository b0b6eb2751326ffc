import { BaseCommand } from '../cli/base-command.js'
import { STATUS_FLAGS } from '../cli/flags/ledger-flags.js'
import { RUN_ARG } from '../cli/flags/run-flags.js'

export default class Status extends BaseCommand<typeof Status> {
  static override summary = 'Show how far a run has come, over all its workers.'
  static override description =
    `Reads commits and attempts in DEST and nothing else, so it works from any machine, while workers run or
after they have died. The speed is that of the commits of the last ten minutes.`
  static override examples = [
    { description: 'Once', command: '<%= config.bin %> <%= command.id %> s3://data/latents' },
    { description: 'Until the run is done', command: '<%= config.bin %> <%= command.id %> latents --watch' },
  ]

  static override args = { dest: RUN_ARG }

  static override flags = STATUS_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Status)
    const { runStatusCommand } = await import('../cli/run/run-commands.js')
    return runStatusCommand(this.context(), args.dest, flags.watch, flags.every)
  }
}
