import { Args } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { STATS_FLAGS } from '../cli/flags/ledger-flags.js'

export default class Stats extends BaseCommand<typeof Stats> {
  static override summary = 'Mean and standard deviation of each latent channel (latents_stats.pt).'
  static override description =
    `Takes the statistics of a run from its commits, without reading the latents; shards of another origin are read.
The deviation is unbiased, over all rows and positions of the latents that are not mirrored.`
  static override examples = [
    { description: 'Print the statistics of a run', command: '<%= config.bin %> <%= command.id %> latents' },
    {
      description: 'Write latents_stats.pt for LightningDiT',
      command: '<%= config.bin %> <%= command.id %> latents --out latents',
    },
  ]

  static override args = {
    shards: Args.string({
      name: 'SHARDS',
      required: true,
      description: 'A folder that `vtp encode` wrote, a folder of shards, or one shard.',
    }),
  }

  static override flags = STATS_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Stats)
    const { latentsStats, writeLatentsStats } = await import('../pipeline/ledger/stats.js')
    const { formatStats } = await import('../cli/terminal/stats-table.js')
    const stats = await latentsStats(args.shards, flags['from-shards'])
    const { terminal } = this.context()
    terminal.print(formatStats(stats))
    const written = flags.out ? await writeLatentsStats(stats, flags.out) : undefined
    if (written) terminal.note(`${written} written`)
    return { ...stats, out: written ?? null }
  }
}
