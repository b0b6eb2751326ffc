import { Args, Flags } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { EVAL_FLAGS, NEIGHBOUR_FLAG, PR_IMAGES_FLAG } from '../cli/flags/eval-flags.js'
import { parseCount, parseFraction, parseNames } from '../cli/flags/parse.js'

const METRICS = ['fid', 'sfid', 'is', 'prec'] as const

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

  static override flags = {
    reference: Flags.string({
      required: true,
      summary: "The reference: ADM's .npz, statistics (mu and sigma), or images.",
      helpValue: 'FILE.npz',
    }),
    metrics: Flags.string({
      default: METRICS.join(','),
      summary: `What to compute: a comma-separated list of ${METRICS.join(', ')}.`,
      helpValue: 'LIST',
    }),
    flavour: Flags.string({
      default: 'adm',
      options: ['adm', 'pytorch-fid', 'clean-fid'],
      summary: 'Whose protocol: how images become 299 × 299 pixels.',
    }),
    neighbour: NEIGHBOUR_FLAG,
    'pr-images': PR_IMAGES_FLAG,
    ...EVAL_FLAGS,
  }

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(EvalGen)
    const { runEvalGenCommand } = await import('../cli/run/eval-gen.js')
    return runEvalGenCommand(this.context(), {
      ...flags,
      ...args,
      metrics: parseNames('--metrics', flags.metrics, METRICS, 'metric'),
      batchSize: parseCount('--batch-size', flags['batch-size']),
      maxBad: parseFraction('--max-bad', flags['max-bad']),
    })
  }
}
