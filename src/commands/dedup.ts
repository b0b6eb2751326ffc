import { BaseCommand } from '../cli/base-command.js'
import { DEDUP_FLAGS, INDEX_ARG } from '../cli/flags/retrieval-flags.js'

export default class Dedup extends BaseCommand<typeof Dedup> {
  static override summary = 'List groups of near-duplicates of an indexed dataset.'
  static override description =
    `Rows whose cosine similarity is at least --threshold belong to one group, and so do those that are linked through
others. Prints one group per paragraph, the first row first; with --out, JSON lines. With an hnsw or lancedb index
each row is compared with its 32 nearest neighbours, with --exact or an exact index with all rows.

--keep-list and --remove-list part the images into those that stay and those that go. Of each group the largest image
stays, of equals the first.`
  static override examples = [
    { description: 'Groups of near-duplicates', command: '<%= config.bin %> <%= command.id %> photos.index' },
    {
      description: 'Only what is almost the same image, into a file',
      command: '<%= config.bin %> <%= command.id %> photos.index --threshold 0.99 --out duplicates.jsonl',
    },
    {
      description: 'What stays, for vtp encode keep.jsonl',
      command: '<%= config.bin %> <%= command.id %> photos.index --keep-list keep.jsonl --remove-list remove.txt',
    },
  ]

  static override args = { index: INDEX_ARG }

  static override flags = DEDUP_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Dedup)
    const { runDedupCommand } = await import('../cli/run/dedup.js')
    return runDedupCommand(this.context(), { ...flags, index: args.index })
  }
}
