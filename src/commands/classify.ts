import { Flags } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { parseCount, parseFraction, parseImageSize, parseUnits } from '../cli/flags/parse.js'
import { DATASET_ARG, INPUT_FLAGS, MODEL_FLAG, RUN_FLAGS } from '../cli/flags/run-flags.js'

const { 'dry-run': _, ...runFlags } = RUN_FLAGS

export default class Classify extends BaseCommand<typeof Classify> {
  static override summary = 'Sort images into labels of your own, by CLIP (zero-shot classification).'
  static override description =
    `Writes one JSON line per image: key, uri, the likeliest label, its probability and the --top next ones.
Probabilities are the softmax over all labels, with the checkpoint's own logit scale. SOURCE may also be a folder
that \`vtp embed\` wrote: its images are not embedded again. With --embeddings an interrupted run goes on.`
  static override examples = [
    {
      description: 'Which of these is it?',
      command: '<%= config.bin %> <%= command.id %> photos --labels labels.txt --out photos.jsonl',
    },
    {
      description: 'With templates, and embeddings that are kept',
      command:
        '<%= config.bin %> <%= command.id %> photos --labels labels.txt --templates templates.txt --embeddings embeddings',
    },
  ]

  static override args = { source: DATASET_ARG }

  static override flags = {
    labels: Flags.string({ required: true, summary: 'File with one label per line.', helpValue: 'FILE' }),
    templates: Flags.string({
      summary: 'File with one template per line, {} standing for the label; default: a photo of a {}.',
      helpValue: 'FILE',
    }),
    out: Flags.string({ char: 'o', summary: 'File for the JSON lines. Default: standard output.', helpValue: 'FILE' }),
    top: Flags.integer({ default: 5, min: 1, summary: 'How many labels to list per image.' }),
    embeddings: Flags.string({
      summary: 'Keep the embeddings in this folder, and go on from what it holds.',
      helpValue: 'DEST',
    }),
    model: MODEL_FLAG,
    ...INPUT_FLAGS,
    ...runFlags,
  }

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Classify)
    const { runClassifyCommand } = await import('../cli/run/classify.js')
    return runClassifyCommand(this.context(), {
      ...flags,
      source: args.source,
      imageSize: parseImageSize(flags['image-size']),
      units: parseUnits(flags.units),
      maxBad: parseFraction('--max-bad', flags['max-bad']),
      batchSize: parseCount('--batch-size', flags['batch-size']),
    })
  }
}
