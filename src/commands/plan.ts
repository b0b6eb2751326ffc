import { BaseCommand } from '../cli/base-command.js'
import { PLAN_FLAGS } from '../cli/flags/encode-flags.js'
import { DATASET_ARG } from '../cli/flags/run-flags.js'

export default class Plan extends BaseCommand<typeof Plan> {
  static override summary = 'List a dataset and store the plan of a run, before many workers start on it.'
  static override description =
    `Writes _vtp/plan.json and the listing into --out and encodes nothing. Workers that find the plan do not
list the source again. A listing of a bucket that is interrupted goes on where it stopped.

Take the same flags as for \`vtp encode\`. With --device cuda the plan can be made on a machine without a GPU.`
  static override examples = [
    {
      description: 'A bucket, for workers anywhere',
      command: '<%= config.bin %> <%= command.id %> s3://data/images --out s3://data/latents --device cuda',
    },
    {
      description: 'How many units there are, for a scheduler',
      command: '<%= config.bin %> <%= command.id %> photos --out latents --shard-rows 1000 --json',
    },
  ]

  static override args = { source: DATASET_ARG }

  static override flags = PLAN_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Plan)
    const { runPlanCommand } = await import('../cli/run/plan.js')
    return runPlanCommand(this.context(), { ...flags, ...args })
  }
}
