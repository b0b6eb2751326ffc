import { BaseCommand } from '../cli/base-command.js'
import { EVAL_ZEROSHOT_FLAGS } from '../cli/flags/eval-flags.js'
import { DATASET_ARG } from '../cli/flags/run-flags.js'

export default class EvalZeroshot extends BaseCommand<typeof EvalZeroshot> {
  static override summary = 'Classify a labelled dataset by text alone: zero-shot top-1 and top-5.'
  static override description =
    `Each class is the average of its name in every template, embedded by the model's text tower; an image belongs
to the class whose embedding is nearest. Defaults are the official script's: 1,000 ImageNet names × 80 templates,
images resized to a square without cropping. Class embeddings are kept in the cache.

The class folders' order is the names' order. With --json (or --out) every class is listed.`
  static override examples = [
    {
      description: 'The number of the model card',
      command: '<%= config.bin %> <%= command.id %> imagenet/val --model MiniMaxAI/VTP-Large-f16d64',
    },
    {
      description: 'Own classes: one name per line, in the order of the class folders',
      command:
        '<%= config.bin %> <%= command.id %> photos --classnames names.txt --templates templates.txt --out result.json',
    },
  ]

  static override args = { source: DATASET_ARG }

  static override flags = EVAL_ZEROSHOT_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(EvalZeroshot)
    const { runEvalZeroshot } = await import('../cli/run/eval-classes.js')
    return runEvalZeroshot(this.context(), { ...flags, ...args })
  }
}
