import { Flags } from '@oclif/core'
import { BaseCommand } from '../../cli/base-command.js'
import { parseImageSize, parseLayers, parseNames } from '../../cli/flags/parse.js'
import { MODEL_ARG } from '../../cli/flags/run-flags.js'

const TOWERS = ['encoder', 'decoder', 'text'] as const
const OUTPUTS = ['latents', 'clip', 'cls', 'patches'] as const

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

  static override flags = {
    out: Flags.string({ char: 'o', required: true, summary: 'Folder to write the graphs to.', helpValue: 'DIR' }),
    towers: Flags.string({
      summary: 'Which graphs: a list of encoder, decoder, text. Default: all that the model has.',
      helpValue: 'LIST',
    }),
    outputs: Flags.string({
      summary: 'Outputs of the encoder: a list of latents, clip, cls, patches. Default: all that the model has.',
      helpValue: 'LIST',
    }),
    layers: Flags.string({
      summary: 'Blocks whose cls and patches are outputs too: a number n for the last n, or a list of 0-based indices.',
      helpValue: 'N|LIST',
    }),
    'image-size': Flags.string({
      summary: "Size of the encoder's input: S or HxW. Default: the checkpoint's.",
      helpValue: 'S|HxW',
    }),
    dtype: Flags.string({
      default: 'float32',
      options: ['float16', 'float32'],
      summary: "Element type of the encoder's outputs.",
    }),
  }

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(ModelExport)
    const { runModelExport } = await import('../../cli/run/model.js')
    return runModelExport(this.context(), {
      model: args.model,
      out: flags.out,
      towers: flags.towers === undefined ? undefined : parseNames('--towers', flags.towers, TOWERS, 'tower'),
      outputs: flags.outputs === undefined ? undefined : parseNames('--outputs', flags.outputs, OUTPUTS, 'output'),
      layers: parseLayers(flags.layers),
      imageSize: parseImageSize(flags['image-size']),
      dtype: flags.dtype as 'float16' | 'float32',
    })
  }
}
