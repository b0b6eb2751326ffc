import { BaseCommand } from '../../cli/base-command.js'
import { MODEL_ARG } from '../../cli/flags/run-flags.js'

export default class ModelInfo extends BaseCommand<typeof ModelInfo> {
  static override summary = "Show a model's parameters per tower, its outputs with their shapes, and its configuration."
  static override examples = [
    { description: 'The bundled model', command: '<%= config.bin %> <%= command.id %> nano' },
    {
      description: 'A model of the hub, as one JSON object',
      command: '<%= config.bin %> <%= command.id %> MiniMaxAI/VTP-Large-f16d64 --json',
    },
  ]

  static override args = { model: MODEL_ARG }

  async run(): Promise<unknown> {
    const { args } = await this.input(ModelInfo)
    const { runModelInfo } = await import('../../cli/run/model.js')
    return runModelInfo(this.context(), args.model)
  }
}
