import { Args } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { FID_FLAGS } from '../cli/flags/fid-flags.js'

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

  static override flags = FID_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Fid)
    const { runFidCommand } = await import('../cli/run/fid.js')
    return runFidCommand(this.context(), { ...flags, ...args })
  }
}
