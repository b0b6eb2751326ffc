import { Args } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { INDEX_ARG, SEARCH_FLAGS } from '../cli/flags/retrieval-flags.js'

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

  static override flags = SEARCH_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Search)
    const { runSearchCommand } = await import('../cli/run/search.js')
    const queries = (args.query as unknown as string[] | undefined) ?? []
    return runSearchCommand(this.context(), { ...flags, index: args.index, queries })
  }
}
