import { BaseCommand } from '../cli/base-command.js'
import { GENERATE_FLAGS } from '../cli/flags/generate-flags.js'

export default class Generate extends BaseCommand<typeof Generate> {
  static override summary = 'Generate images from noise: LightningDiT samples latents, a pixel decoder makes images.'
  static override description =
    `Samples class-conditional latents with a LightningDiT checkpoint and decodes them to PNG files
000000.png, 000001.png, … in --out. Settings come from the flags, else from one of the reference's YAML
configurations (--dit-config), which is read as it is.

Image i is a function of the settings and of i alone: batch size, number of workers and interruptions do
not change it. Running the same command again continues; --worker-index/--worker-count share the work.

Exit codes: 0 done; 2 wrong usage; 3 failed; 4 interrupted. docs/generation.md has the whole recipe.`
  static override examples = [
    {
      description: 'Two classes, balanced, with a preview',
      command:
        '<%= config.bin %> <%= command.id %> --dit 0100000.pt --model MiniMaxAI/VTP-Large-f16d64 --stats latents --classes 207,360 --grid 4x8 --out samples',
    },
    {
      description: "FID-50K as the reference's configuration says",
      command:
        '<%= config.bin %> <%= command.id %> --dit-config train_vtp_l_dit_xl.yaml --dit 0080000.pt --model MiniMaxAI/VTP-Large-f16d64 --stats latents --num 50000 --npz --out samples',
    },
    {
      description: 'One of three workers on the same folder',
      command:
        '<%= config.bin %> <%= command.id %> --dit 0100000.pt --stats latents --num 50000 --out samples --worker-index 0 --worker-count 3',
    },
  ]

  static override flags = GENERATE_FLAGS

  async run(): Promise<unknown> {
    const command = await import('../cli/run/generate.js')
    this.argv = await command.recipeFromConfig(this.argv)
    const { flags } = await this.input(Generate)
    return command.runGenerateCommand(this.context(), flags)
  }
}
