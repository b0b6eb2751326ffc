import { Flags } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { INDEX_ARG, QUERY_MODEL_FLAG, QUERY_PRECISION_FLAG } from '../cli/flags/retrieval-flags.js'

export default class Serve extends BaseCommand<typeof Serve> {
  static override summary = 'A local page to search an index by text, by image and by clicking.'
  static override description =
    `Serves a page and a JSON API (docs/retrieval.md) on this machine only, until Ctrl-C. Images are shown as
thumbnails made from the indexed files, and no other file is ever read. Nothing is sent anywhere; images that were
indexed by web address or in a bucket are fetched from there when they are shown.`
  static override examples = [
    {
      description: 'Open the printed address in a browser',
      command: '<%= config.bin %> <%= command.id %> photos.index',
    },
    {
      description: 'On another port, for the local network',
      command: '<%= config.bin %> <%= command.id %> photos.index --host 0.0.0.0 --port 9000',
    },
  ]

  static override args = { index: INDEX_ARG }

  static override flags = {
    host: Flags.string({
      default: '127.0.0.1',
      summary: 'Address to listen on. Anyone who reaches it can search and see thumbnails.',
      helpValue: 'ADDRESS',
    }),
    port: Flags.integer({ char: 'p', default: 8420, min: 0, max: 65_535, summary: 'Port; 0 takes any free one.' }),
    model: QUERY_MODEL_FLAG,
    precision: QUERY_PRECISION_FLAG,
  }

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Serve)
    const { runServeCommand } = await import('../cli/run/serve.js')
    return runServeCommand(this.context(), { ...flags, index: args.index })
  }
}
