import { Args, Flags } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { EVAL_FLAGS, NEIGHBOUR_FLAG, PR_IMAGES_FLAG } from '../cli/flags/eval-flags.js'
import { parseCount, parseFraction, parseNames } from '../cli/flags/parse.js'

const METRICS = ['fid', 'sfid', 'kid', 'is', 'prec'] as const

export default class Fid extends BaseCommand<typeof Fid> {
  static override summary = 'Compare two sets of images: FID, sFID, KID, Inception Score, precision and recall.'
  static override description =
    `A is the reference, B is what is judged. Each is a source of images (folder, list, tar, Parquet), shards with
pixels, ADM's sample batches (.npz with arr_0), or statistics (.npz with mu and sigma, as pytorch-fid and ADM
write them). Images enter at their own size.

Every number is printed with its protocol. The default is pytorch-fid's: its network, its resize, features
of 2048 dimensions. With fewer images than dimensions the distance is exact, without complex numbers.`
  static override examples = [
    {
      description: 'FID of two folders, as pytorch-fid computes it',
      command: '<%= config.bin %> <%= command.id %> reference samples',
    },
    {
      description: 'Statistics of a reference set, once',
      command: '<%= config.bin %> <%= command.id %> imagenet/val --save-stats val.npz',
    },
    { description: 'Samples against statistics', command: '<%= config.bin %> <%= command.id %> val.npz samples' },
    {
      description: "ADM's evaluation of a batch of samples",
      command:
        '<%= config.bin %> <%= command.id %> VIRTUAL_imagenet256_labeled.npz samples.npz --flavour adm --metrics fid,sfid,is,prec',
    },
  ]

  static override args = {
    a: Args.string({ name: 'A', required: true, description: 'The reference: images, or statistics (.npz).' }),
    b: Args.string({ name: 'B', description: 'What is judged. May be left out with --save-stats.' }),
  }

  static override flags = {
    metrics: Flags.string({
      default: 'fid',
      summary: `What to compute: a comma-separated list of ${METRICS.join(', ')}.`,
      description: 'sfid compares 17 × 17 maps; is is the Inception Score of B; prec is precision and recall.',
      helpValue: 'LIST',
    }),
    flavour: Flags.string({
      default: 'pytorch-fid',
      options: ['pytorch-fid', 'adm', 'clean-fid'],
      summary: 'Whose protocol: how images become 299 × 299 pixels.',
      description:
        'pytorch-fid: bilinear, pixel centres. adm: bilinear as TensorFlow 1. clean-fid: bicubic with antialiasing.',
    }),
    dims: Flags.integer({
      default: 2048,
      options: ['64', '192', '768', '2048'],
      summary: 'Width of the features; other than 2048 goes with fid alone.',
    }),
    'save-stats': Flags.string({ summary: "Write A's statistics (mu, sigma) to this file.", helpValue: 'FILE.npz' }),
    'kid-subsets': Flags.integer({ default: 100, min: 1, summary: 'KID: number of random subsets.', helpValue: 'N' }),
    'kid-subset-size': Flags.integer({ default: 1000, min: 2, summary: 'KID: images of a subset.', helpValue: 'N' }),
    neighbour: NEIGHBOUR_FLAG,
    'pr-images': PR_IMAGES_FLAG,
    ...EVAL_FLAGS,
  }

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Fid)
    const { runFidCommand } = await import('../cli/run/fid.js')
    return runFidCommand(this.context(), {
      ...flags,
      ...args,
      metrics: parseNames('--metrics', flags.metrics, METRICS, 'metric'),
      batchSize: parseCount('--batch-size', flags['batch-size']),
      maxBad: parseFraction('--max-bad', flags['max-bad']),
    })
  }
}
