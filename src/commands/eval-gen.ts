import { Args } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { EVAL_GEN_FLAGS } from '../cli/flags/fid-flags.js'

export default class EvalGen extends BaseCommand<typeof EvalGen> {
  static override summary = 'Judge generated images: FID-50K, sFID, Inception Score, precision and recall.'
  static override description =
    `DEST is the folder of a finished \`vtp generate\` run; any other set of images that \`vtp fid\` takes will do.
--reference is ADM's batch for the data set (VIRTUAL_imagenet256_labeled.npz: 10,000 images and the statistics
of all), other statistics, or images.

FID and sFID are distances to the reference's statistics where it has them; precision and recall need its
images. Every number is printed with its protocol, and with how the samples were made.`
  static override examples = [
    {
      description: "Everything that ADM's evaluation reports",
      command: '<%= config.bin %> <%= command.id %> samples --reference VIRTUAL_imagenet256_labeled.npz',
    },
    {
      description: "FID as LightningDiT's training reports it",
      command:
        '<%= config.bin %> <%= command.id %> samples --reference VIRTUAL_imagenet256_labeled.npz --metrics fid --flavour pytorch-fid',
    },
  ]

  static override args = {
    samples: Args.string({
      name: 'DEST',
      required: true,
      description: 'The --out of `vtp generate`, or another set of images, e.g. samples.npz.',
    }),
  }

  static override flags = EVAL_GEN_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(EvalGen)
    const { runEvalGenCommand } = await import('../cli/run/eval-gen.js')
    return runEvalGenCommand(this.context(), { ...flags, ...args })
  }
}
