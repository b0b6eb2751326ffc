import { Args, Flags } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { FILTER_FLAGS, INDEX_ARG, QUERY_MODEL_FLAG, QUERY_PRECISION_FLAG } from '../cli/flags/retrieval-flags.js'

export default class Search extends BaseCommand<typeof Search> {
  static override summary = 'Search an index by text, by image, or by both.'
  static override description =
    `A QUERY that names an existing file is an image, anything else is text. Several queries are combined into one:
the sum of their vectors, weighted by --weights. With filters the search is exact, over the rows that meet them.`
  static override examples = [
    { description: 'By text', command: '<%= config.bin %> <%= command.id %> photos.index "a red bus"' },
    { description: 'By image', command: '<%= config.bin %> <%= command.id %> photos.index photo.jpg -k 20 --dedup' },
    {
      description: 'Like this photograph, but at night and without people',
      command: '<%= config.bin %> <%= command.id %> photos.index photo.jpg "at night" "people" --weights 1,0.7,-0.3',
    },
    {
      description: 'Many queries, one per line, as JSON',
      command: '<%= config.bin %> <%= command.id %> photos.index --text-file queries.txt --json',
    },
  ]

  static override args = {
    index: INDEX_ARG,
    query: Args.string({
      name: 'QUERY',
      multiple: true,
      ignoreStdin: true,
      description: 'Text, or the path of an image.',
    }),
  }

  static override flags = {
    k: Flags.integer({ char: 'k', default: 10, min: 1, max: 10_000, summary: 'How many results.' }),
    image: Flags.string({
      multiple: true,
      multipleNonGreedy: true,
      summary: 'An image as a further query; may be repeated.',
      helpValue: 'FILE',
    }),
    weights: Flags.string({
      summary: 'Weights of the queries, in their order (images of --image last). Default: all 1.',
      helpValue: 'LIST',
    }),
    'text-file': Flags.string({
      summary: 'Search for each line of a file (- for stdin).',
      helpValue: 'FILE',
      exclusive: ['image', 'weights'],
    }),
    exact: Flags.boolean({ default: false, summary: 'Compare with every vector, whatever the index has.' }),
    dedup: Flags.boolean({ default: false, summary: 'Leave out near-duplicates of better results.' }),
    'dedup-threshold': Flags.string({
      default: '0.95',
      summary: 'Cosine similarity from which on two results are near-duplicates.',
      helpValue: 'S',
    }),
    ...FILTER_FLAGS,
    model: QUERY_MODEL_FLAG,
    precision: QUERY_PRECISION_FLAG,
  }

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Search)
    const { runSearchCommand } = await import('../cli/run/search.js')
    const queries = (args.query as unknown as string[] | undefined) ?? []
    return runSearchCommand(this.context(), { ...flags, index: args.index, queries })
  }
}
