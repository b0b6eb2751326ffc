import { BaseCommand } from '../cli/base-command.js'
import { INDEX_ARG, SERVE_FLAGS } from '../cli/flags/retrieval-flags.js'

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

  static override flags = SERVE_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Serve)
    const { runServeCommand } = await import('../cli/run/serve.js')
    return runServeCommand(this.context(), { ...flags, index: args.index })
  }
}
