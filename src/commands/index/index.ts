import { Args } from '@oclif/core'
import { BaseCommand } from '../../cli/base-command.js'
import { INDEX_FLAGS } from '../../cli/flags/retrieval-flags.js'

export default class Index extends BaseCommand<typeof Index> {
  static override summary = 'Build a search index over embeddings.'
  static override description =
    `Reads the shards of \`vtp embed\` (or of \`vtp encode --outputs clip\`, or clip-retrieval's img_emb and metadata)
and writes an index. Its row ids are the rows' numbers through all shards, so every hit leads back to key, uri and
shard row. Every kind keeps the exact vectors (float32), and shows exact scores:

  hnsw     a graph in memory while it is built, mapped from disk when searched; the usual choice
  exact    compares with every vector: the truth, and fast enough for a few million
  lancedb  IVF-PQ on disk, for what outgrows memory; needs npm install @lancedb/lancedb@0.37.1 apache-arrow@18.1.0

The index is replaced at the very end; a stopped build resumes when the same command runs again.`
  static override examples = [
    { description: 'An index to search', command: '<%= config.bin %> <%= command.id %> embeddings --out photos.index' },
    {
      description: 'Add the embeddings of new images',
      command: '<%= config.bin %> <%= command.id %> embeddings-may --out photos.index --append',
    },
    {
      description: 'A smaller graph: vectors in 8 bits',
      command: '<%= config.bin %> <%= command.id %> embeddings --out photos.index --storage int8',
    },
  ]

  static override args = {
    embeddings: Args.string({
      name: 'EMBEDDINGS',
      required: true,
      multiple: true,
      ignoreStdin: true,
      description: 'Folders that `vtp embed` wrote, or shards.',
    }),
  }

  static override flags = INDEX_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Index)
    const { runIndexCommand } = await import('../../cli/run/index.js')
    const embeddings = args.embeddings as unknown as string[]
    return runIndexCommand(this.context(), { ...flags, embeddings })
  }
}
