import { Flags } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { parseCount, parseFraction, parseImageSize, parseLayers, parseOutputs, parseUnits } from '../cli/flags/parse.js'
import { DATASET_ARG, INPUT_FLAGS, MODEL_FLAG, RUN_FLAGS } from '../cli/flags/run-flags.js'

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

  static override flags = {
    out: Flags.string({
      char: 'o',
      required: true,
      summary: 'Folder or s3://bucket/prefix to write the shards to.',
      helpValue: 'DEST',
    }),
    model: MODEL_FLAG,
    outputs: Flags.string({
      default: 'latents',
      summary: 'What to write: a comma-separated list of latents, clip, text, cls, patches, layers, pixels.',
      description:
        'All of them leave one pass of the model. latents [C,h,w]; clip [D], L2-normalised; text: the same of the caption, in column clip_text; cls [D] and patches [N,D] of the last block after the final norm; layers: cls and patches of the blocks chosen by --layers; pixels uint8 [H,W,3], the preprocessed image.',
      helpValue: 'LIST',
    }),
    layers: Flags.string({
      summary:
        'Blocks for the output "layers": a number n for the last n, or a list of 0-based indices such as 3,7,11.',
      helpValue: 'N|LIST',
    }),
    'layers-norm': Flags.boolean({
      default: true,
      allowNo: true,
      summary: "Apply the model's final norm to the layers (the reference's default).",
    }),
    flip: Flags.boolean({
      default: false,
      summary: 'Add the outputs of the mirrored image, in columns with the suffix _flip.',
    }),
    format: Flags.string({
      default: 'arrow',
      options: ['arrow', 'parquet', 'safetensors'],
      summary: 'File format of the shards.',
    }),
    dtype: Flags.string({
      options: ['float16', 'float32'],
      summary: 'Element type of the outputs; default float16, and float32 for safetensors as the reference writes it.',
    }),
    ...INPUT_FLAGS,
    ...RUN_FLAGS,
  }

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Encode)
    const { runEncodeCommand } = await import('../cli/run/encode.js')
    return runEncodeCommand(this.context(), {
      ...flags,
      source: args.source,
      outputs: parseOutputs(flags.outputs),
      layers: parseLayers(flags.layers),
      imageSize: parseImageSize(flags['image-size']),
      units: parseUnits(flags.units),
      maxBad: parseFraction('--max-bad', flags['max-bad']),
      batchSize: parseCount('--batch-size', flags['batch-size']),
    })
  }
}
