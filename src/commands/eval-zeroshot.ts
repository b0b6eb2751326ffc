import { Flags } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { EVAL_FLAGS } from '../cli/flags/eval-flags.js'
import { parseCount, parseFraction } from '../cli/flags/parse.js'
import { DATASET_ARG, MODEL_FLAG, RUN_FLAGS } from '../cli/flags/run-flags.js'

const { weights: _, ...FLAGS } = EVAL_FLAGS

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

  static override flags = {
    model: MODEL_FLAG,
    classnames: Flags.string({
      summary: 'File with the class names, one per line or a JSON list. Default: the 1,000 of ImageNet.',
      helpValue: 'FILE',
    }),
    templates: Flags.string({
      summary: 'File with the templates, one per line, {c} for the name. Default: the 80 of OpenCLIP.',
      helpValue: 'FILE',
    }),
    transform: Flags.string({
      summary: 'Preprocessing; default "resize(S,S,bilinear)" at the size of the model, as the official script.',
      helpValue: 'SPEC',
    }),
    precision: RUN_FLAGS.precision,
    out: Flags.string({
      char: 'o',
      summary: 'Write the result with all classes to this file.',
      helpValue: 'FILE.json',
    }),
    ...FLAGS,
  }

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(EvalZeroshot)
    const { runEvalZeroshot } = await import('../cli/run/eval-zeroshot.js')
    return runEvalZeroshot(this.context(), {
      ...flags,
      source: args.source,
      batchSize: parseCount('--batch-size', flags['batch-size']),
      maxBad: parseFraction('--max-bad', flags['max-bad']),
    })
  }
}
