import { BaseCommand } from '../cli/base-command.js'
import { CLASSIFY_FLAGS } from '../cli/flags/retrieval-flags.js'
import { DATASET_ARG } from '../cli/flags/run-flags.js'

export default class Classify extends BaseCommand<typeof Classify> {
  static override summary = 'Sort images into labels of your own, by CLIP (zero-shot classification).'
  static override description =
    `Writes one JSON line per image: key, uri, the likeliest label, its probability and the --top next ones.
Probabilities are the softmax over all labels, with the checkpoint's own logit scale. SOURCE may also be a folder
that \`vtp embed\` wrote: its images are not embedded again. With --embeddings an interrupted run continues.`
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

  static override flags = CLASSIFY_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Classify)
    const { runClassifyCommand } = await import('../cli/run/classify.js')
    return runClassifyCommand(this.context(), { ...flags, ...args })
  }
}
