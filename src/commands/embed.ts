import { Args } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { EMBED_FLAGS } from '../cli/flags/encode-flags.js'
import { DATASET_ARG } from '../cli/flags/run-flags.js'

export default class Embed extends BaseCommand<typeof Embed> {
  static override summary = 'Embed images or texts with CLIP: unit vectors to search, compare and classify with.'
  static override description =
    `Writes the CLIP embedding of every image of SOURCE (column clip, L2-normalised) with key, uri, label, caption
and size, in Parquet. Where the source has captions (.txt members of a tar, a caption column or field), they are
embedded, too (column clip_text; zeros where an image has none). With --text, lines of text are embedded instead:
key is the line's number from 0, caption the line.

Like encode, a run is resumable, repeats byte for byte, and turns what cannot be read into rejects.`
  static override examples = [
    { description: 'Embeddings of a folder', command: '<%= config.bin %> <%= command.id %> photos --out embeddings' },
    {
      description:
        'Image-text pairs of WebDataset shards, in the layout of clip-retrieval (img_emb, text_emb, metadata)',
      command: '<%= config.bin %> <%= command.id %> "pairs-{000..099}.tar" --out embeddings --format npy',
    },
    {
      description: 'Embeddings of texts, one per line',
      command: '<%= config.bin %> <%= command.id %> --text captions.txt --out texts',
    },
  ]

  static override args = { source: Args.string({ ...DATASET_ARG, required: false, ignoreStdin: true }) }

  static override flags = EMBED_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Embed)
    const { withThreadsAhead } = await import('../pipeline/stream/threads-ahead.js')
    return withThreadsAhead({ images: flags.text === undefined }, async () => {
      const { embedSource } = await import('../cli/run/embed.js')
      const { runEncodeCommand } = await import('../cli/run/encode.js')
      return runEncodeCommand(this.context(), {
        ...flags,
        ...embedSource(args.source, flags.text, flags.captions),
        flip: false,
        'layers-norm': true,
      })
    })
  }
}
