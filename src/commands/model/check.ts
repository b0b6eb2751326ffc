import { BaseCommand } from '../../cli/base-command.js'
import { MODEL_CHECK_FLAGS } from '../../cli/flags/model-flags.js'
import { DATASET_ARG, MODEL_ARG } from '../../cli/flags/run-flags.js'

export default class ModelCheck extends BaseCommand<typeof ModelCheck> {
  static override summary = 'Show what each precision costs in accuracy and gains in speed, on your images.'
  static override description =
    `Runs the first images of SOURCE through the model at every precision that the device offers, and compares
every output with fp32: mean relative error and cosine, the change of the reconstructions' PSNR, and images
per second of the encoder. On a CPU the error that the official code has under bf16 autocast stands beside
them; it is simulated by rounding the same values.`
  static override examples = [
    { description: 'Is int8 good enough?', command: '<%= config.bin %> <%= command.id %> nano photos' },
    {
      description: 'More images, as one JSON object',
      command: '<%= config.bin %> <%= command.id %> MiniMaxAI/VTP-Large-f16d64 photos --limit 64 --json',
    },
  ]

  static override args = { model: MODEL_ARG, source: DATASET_ARG }

  static override flags = MODEL_CHECK_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(ModelCheck)
    const { runModelCheckCommand } = await import('../../cli/run/model-check.js')
    return runModelCheckCommand(this.context(), { ...flags, ...args })
  }
}
