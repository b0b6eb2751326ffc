import { BaseCommand } from '../cli/base-command.js'
import { EVAL_RECON_FLAGS } from '../cli/flags/eval-flags.js'
import { DATASET_ARG } from '../cli/flags/run-flags.js'

export default class EvalRecon extends BaseCommand<typeof EvalRecon> {
  static override summary = 'Measure how well a model reconstructs a dataset: rFID, PSNR, SSIM and LPIPS.'
  static override description =
    `One pass over the images: encode, decode, compare; nothing is written but what --out and --report ask for.
The protocol is that of the official script and is printed with the numbers: centre crop of ADM at the model's
size, decoder output clamped, rFID on both sides truncated to 8 bits, SSIM and LPIPS as means over batches of 32.

It can be interrupted and continued by the same command, and ends with the same numbers.`
  static override examples = [
    {
      description: 'The numbers of the model card',
      command: '<%= config.bin %> <%= command.id %> imagenet/val --model MiniMaxAI/VTP-Large-f16d64 --out recon',
    },
    {
      description: 'PSNR and SSIM alone need no other network',
      command: '<%= config.bin %> <%= command.id %> photos --metrics psnr,ssim',
    },
    {
      description: 'A page with histograms and the worst and best images',
      command: '<%= config.bin %> <%= command.id %> photos --limit 1000 --report report.html',
    },
    {
      description: 'Keep the images, as the official script does',
      command: '<%= config.bin %> <%= command.id %> photos --out recon --save-images --weights weights',
    },
  ]

  static override args = { source: DATASET_ARG }

  static override flags = EVAL_RECON_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(EvalRecon)
    const { runEvalRecon } = await import('../cli/run/eval-recon.js')
    return runEvalRecon(this.context(), { ...flags, ...args })
  }
}
