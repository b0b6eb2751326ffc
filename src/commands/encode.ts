import { BaseCommand } from '../cli/base-command.js'
import { ENCODE_FLAGS } from '../cli/flags/encode-flags.js'
import { DATASET_ARG } from '../cli/flags/run-flags.js'

export default class Encode extends BaseCommand<typeof Encode> {
  static override summary = 'Encode a dataset of images into shards: latents, CLIP embeddings and features in one pass.'
  static override description =
    `Reads every image of SOURCE once, preprocesses it exactly as the reference does and writes
the chosen outputs of one pass of the model into shards under --out, in the order of the listing.

A run is resumable: running the same command again continues after an interruption, and writes the same
bytes. An image that cannot be read or decoded becomes a reject with a reason, in _rejects-NNNNN.jsonl.

Exit codes: 0 done; 1 done, but more rejects than --max-bad; 2 wrong usage; 3 failed; 4 interrupted.`
  static override examples = [
    {
      description: 'Latents of a folder, with the bundled model',
      command: '<%= config.bin %> <%= command.id %> photos --out latents',
    },
    {
      description: 'Latents, CLIP embedding and the last four layers in one pass, as Parquet',
      command:
        '<%= config.bin %> <%= command.id %> photos --out features --outputs latents,clip,layers --layers 4 --format parquet',
    },
    {
      description: 'Feature extraction for LightningDiT: latents of each image and its mirror, with statistics',
      command:
        '<%= config.bin %> <%= command.id %> imagenet/train --out latents --model MiniMaxAI/VTP-Large-f16d64 --transform "adm-crop(256)" --flip --format safetensors',
    },
    {
      description: 'What would happen, how large it gets and how long it takes',
      command: '<%= config.bin %> <%= command.id %> photos --out latents --dry-run',
    },
    {
      description: 'One of four workers on the same folder',
      command:
        '<%= config.bin %> <%= command.id %> "shards/train-{0000..0099}.tar" --out latents --worker-index 0 --worker-count 4',
    },
  ]

  static override args = { source: DATASET_ARG }

  static override flags = ENCODE_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Encode)
    const { withThreadsAhead } = await import('../pipeline/stream/threads-ahead.js')
    return withThreadsAhead({ images: true }, async () => {
      const { runEncodeCommand } = await import('../cli/run/encode.js')
      return runEncodeCommand(this.context(), { ...flags, ...args })
    })
  }
}
