import { Args } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { SHOW_FLAGS } from '../cli/flags/encode-flags.js'

export default class Show extends BaseCommand<typeof Show> {
  static override summary = 'Draw what a model makes of a few images: reconstruction, error, patch tokens.'
  static override description =
    `Writes one picture with a row per image. Its columns are the image as the model sees it, the reconstruction, the
error (black: none, white: 64 of 255 levels or more), and the patch tokens, whose first three principal components
over all images of the sheet are red, green and blue. Columns that a model cannot fill are left out, and named.`
  static override examples = [
    {
      description: 'The first six images of a folder',
      command: '<%= config.bin %> <%= command.id %> photos --out sheet.png',
    },
    {
      description: 'One image, in its middle',
      command: '<%= config.bin %> <%= command.id %> photo.jpg --out sheet.png --transform "adm-crop(256)"',
    },
  ]

  static override args = {
    source: Args.string({ name: 'SOURCE', required: true, description: 'Images, as in `vtp encode`, or one image.' }),
  }

  static override flags = SHOW_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Show)
    const { runShow } = await import('../cli/run/show.js')
    return runShow(this.context(), { ...flags, source: args.source })
  }
}
