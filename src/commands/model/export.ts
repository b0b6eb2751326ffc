import { BaseCommand } from '../../cli/base-command.js'
import { MODEL_EXPORT_FLAGS } from '../../cli/flags/model-flags.js'
import { MODEL_ARG } from '../../cli/flags/run-flags.js'

export default class ModelExport extends BaseCommand<typeof ModelExport> {
  static override summary = 'Write the ONNX graphs of a model: image encoder, pixel decoder and text encoder.'
  static override description =
    `Writes encoder.onnx, decoder.onnx and text.onnx, each with its weights beside it (encoder.weights, …), and
export.json with names, types and shapes. The encoder takes uint8 pixels [N,H,W,3] (RGB, 0 to 255) and gives
every output of one pass. The graphs use operators of ONNX Runtime (com.microsoft) and need it to run.`
  static override examples = [
    {
      description: 'All graphs of the bundled model',
      command: '<%= config.bin %> <%= command.id %> nano --out graphs',
    },
    {
      description: 'Only the encoder, for images of 224×224, with the last four layers',
      command: '<%= config.bin %> <%= command.id %> nano --out graphs --towers encoder --image-size 224 --layers 4',
    },
  ]

  static override args = { model: MODEL_ARG }

  static override flags = MODEL_EXPORT_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(ModelExport)
    const { runModelExport } = await import('../../cli/run/model.js')
    return runModelExport(this.context(), { ...flags, ...args })
  }
}
