import { BaseCommand } from '../cli/base-command.js'
import { GC_FLAGS } from '../cli/flags/ledger-flags.js'
import { RUN_ARG } from '../cli/flags/run-flags.js'

export default class Gc extends BaseCommand<typeof Gc> {
  static override summary = 'Remove what a run no longer needs: temporary files, markers, unfinished uploads.'
  static override description =
    `Removes attempt markers of committed units, listings that no plan names, temporary files and multipart
uploads of workers that died. Parts, commits and rejects are never touched.`
  static override examples = [
    { description: 'What would go?', command: '<%= config.bin %> <%= command.id %> s3://data/latents --dry-run' },
    {
      description: 'When no worker runs any more',
      command: '<%= config.bin %> <%= command.id %> latents --older-than 0s',
    },
  ]

  static override args = { dest: RUN_ARG }

  static override flags = GC_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Gc)
    const { runGcCommand } = await import('../cli/run/run-commands.js')
    return runGcCommand(this.context(), args.dest, flags['older-than'], flags['dry-run'])
  }
}
