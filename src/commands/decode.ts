import { Args, Flags } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { parseCount, parseImageSize } from '../cli/flags/parse.js'
import { MODEL_FLAG, RUN_FLAGS } from '../cli/flags/run-flags.js'

export default class Decode extends BaseCommand<typeof Decode> {
  static override summary = 'Decode latents to PNG images, or show the reconstruction of one image.'
  static override description =
    `Takes the shards of \`vtp encode\` (or of the reference's feature extraction) and writes one PNG per row,
named by its key. With one image as input, it is encoded and decoded at once.

Values are cut off to 8 bits, not rounded, as the reference does.`
  static override examples = [
    { description: 'All latents of a run', command: '<%= config.bin %> <%= command.id %> latents --out pictures' },
    {
      description: 'How well does the model reconstruct this photograph?',
      command: '<%= config.bin %> <%= command.id %> photo.jpg --out . --side-by-side',
    },
    {
      description: 'The first 16 rows of one shard',
      command: '<%= config.bin %> <%= command.id %> latents/part-00000.arrow --out pictures --limit 16',
    },
  ]

  static override args = {
    input: Args.string({
      name: 'SHARDS',
      required: true,
      description: 'A folder of shards, one shard (.arrow, .parquet, .safetensors), or one image.',
    }),
  }

  static override flags = {
    out: Flags.string({
      char: 'o',
      required: true,
      summary: 'Folder for the PNG files; for one image also a name ending in .png.',
      helpValue: 'DIR',
    }),
    model: MODEL_FLAG,
    'side-by-side': Flags.boolean({
      default: false,
      summary: 'One image: the preprocessed original and the reconstruction in one picture.',
    }),
    transform: Flags.string({ summary: 'One image: preprocessing, as in `vtp encode`.', helpValue: 'SPEC' }),
    'image-size': Flags.string({ summary: "One image: size of the model's input.", helpValue: 'S|HxW' }),
    limit: Flags.integer({ min: 1, summary: 'Decode at most this many rows.', helpValue: 'N' }),
    'any-model': Flags.boolean({ default: false, summary: 'Decode latents that another model has made.' }),
    'batch-size': Flags.string({
      default: 'auto',
      summary: 'Rows per pass of the decoder. It does not change the output.',
      helpValue: 'N',
    }),
    device: RUN_FLAGS.device,
    precision: RUN_FLAGS.precision,
  }

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Decode)
    const { runDecodeCommand } = await import('../cli/run/decode.js')
    return runDecodeCommand(this.context(), {
      ...flags,
      input: args.input,
      imageSize: parseImageSize(flags['image-size']),
      batchSize: parseCount('--batch-size', flags['batch-size']),
    })
  }
}
