import { Args, Flags } from '@oclif/core'
import { BaseCommand } from '../../cli/base-command.js'

export default class Index extends BaseCommand<typeof Index> {
  static override summary = 'Build a search index over embeddings.'
  static override description =
    `Reads the shards of \`vtp embed\` (or of \`vtp encode --outputs clip\`, or clip-retrieval's img_emb and metadata)
and writes an index. Its row ids are the rows' numbers through all shards, so every hit leads back to key, uri and
shard row. Every kind keeps the exact vectors (float32), and shows exact scores:

  hnsw     a graph in memory while it is built, mapped from disk when searched; the usual choice
  exact    compares with every vector: the truth, and fast enough for a few million
  lancedb  IVF-PQ on disk, for what outgrows memory; needs npm install @lancedb/lancedb@0.37.1 apache-arrow@18.1.0

The index is replaced at the very end; a stopped build goes on when the same command runs again.`
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

  static override flags = {
    out: Flags.string({ char: 'o', required: true, summary: 'Folder of the index.', helpValue: 'INDEX' }),
    kind: Flags.string({ default: 'hnsw', options: ['hnsw', 'exact', 'lancedb'], summary: 'Kind of index.' }),
    append: Flags.boolean({
      default: false,
      summary: 'Add shards to an existing index; those that it has already are skipped.',
    }),
    column: Flags.string({
      summary: 'Column of the vectors: clip (images, the default) or clip_text (captions), or any other.',
      helpValue: 'NAME',
    }),
    storage: Flags.string({
      default: 'float16',
      options: ['float16', 'int8', 'float32'],
      summary: 'How the graph keeps vectors. int8 is half as large as float16 and a little less accurate.',
    }),
    connectivity: Flags.integer({ default: 16, min: 2, max: 128, summary: 'Links per node of the graph (M).' }),
    'expansion-add': Flags.integer({
      default: 128,
      min: 8,
      max: 4096,
      summary: 'Candidates when adding to the graph: more is slower to build and finds more.',
    }),
    'expansion-search': Flags.integer({
      default: 128,
      min: 8,
      max: 4096,
      summary: 'Candidates when searching the graph: more is slower and finds more.',
    }),
    model: Flags.string({
      char: 'm',
      summary: 'Where the model of the embeddings is, for `vtp search`; nano and hub ids are found without it.',
      helpValue: 'MODEL',
    }),
    workers: Flags.integer({ min: 1, summary: 'Threads. Default: one per core.', helpValue: 'N' }),
  }

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Index)
    const { runIndexCommand } = await import('../../cli/run/index.js')
    const embeddings = args.embeddings as unknown as string[]
    return runIndexCommand(this.context(), { ...flags, embeddings })
  }
}
