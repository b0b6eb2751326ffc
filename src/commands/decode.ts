import { Args } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { DECODE_FLAGS } from '../cli/flags/encode-flags.js'

export default class Decode extends BaseCommand<typeof Decode> {
  static override summary = 'Decode latents to PNG images, or show the reconstruction of one image.'
  static override description =
    `Takes the shards of \`vtp encode\` (or of the reference's feature extraction) and writes one PNG per row,
named by its key. Images (one, or any SOURCE: a folder, a list, tar shards, stored pixels) are encoded and decoded
at once.

Values become 8 bits as each model's own code saves them: VTP, RAE and VILA-U cut off, VA-VAE and UniTok round.`
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
    {
      description: 'A sheet to look at, five images per row',
      command: '<%= config.bin %> <%= command.id %> latents --out sheet.jpg --grid --per-row 5 --limit 20',
    },
  ]

  static override args = {
    input: Args.string({
      name: 'SHARDS',
      required: true,
      description:
        'A folder of shards, one shard (.arrow, .parquet, .safetensors), one image, or any SOURCE of images.',
    }),
  }

  static override flags = DECODE_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Decode)
    const { runDecodeCommand } = await import('../cli/run/decode.js')
    return runDecodeCommand(this.context(), {
      ...flags,
      input: args.input,
    })
  }
}
