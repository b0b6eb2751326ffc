import { BaseCommand } from '../cli/base-command.js'
import { VERIFY_FLAGS } from '../cli/flags/ledger-flags.js'
import { RUN_ARG } from '../cli/flags/run-flags.js'

export default class Verify extends BaseCommand<typeof Verify> {
  static override summary = 'Read the output of a run again and compare it with what its commits promise.'
  static override description =
    `Checks size and SHA-256 of every file, that every image of the listing is one row or one reject, in order,
that no key is on two rows, and the manifest.

Exit codes: 0 everything is right; 1 a check failed, or units are not committed yet (exitReason of --json tells
which: check_failed or incomplete).`
  static override examples = [
    { description: 'A finished run', command: '<%= config.bin %> <%= command.id %> s3://data/latents' },
    {
      description: 'What is there so far, while workers run',
      command: '<%= config.bin %> <%= command.id %> latents --partial --json',
    },
    {
      description: 'Lost and damaged shards: the next `vtp encode` makes them again',
      command: '<%= config.bin %> <%= command.id %> latents --repair',
    },
  ]

  static override args = { dest: RUN_ARG }

  static override flags = VERIFY_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Verify)
    const { runVerifyCommand } = await import('../cli/run/run-commands.js')
    return runVerifyCommand(this.context(), args.dest, flags)
  }
}
