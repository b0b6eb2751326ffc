import { Args, Flags } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { DECODER_PRECISION_FLAG, EVAL_FLAGS } from '../cli/flags/eval-flags.js'
import { parseCount, parseFraction, parseNames } from '../cli/flags/parse.js'
import { RUN_FLAGS } from '../cli/flags/run-flags.js'

const TASKS = ['recon', 'zeroshot'] as const
const METRICS = ['psnr', 'ssim', 'lpips', 'rfid'] as const

export default class Eval extends BaseCommand<typeof Eval> {
  static override summary = "Evaluate several models on one dataset and print one table, like the model card's."
  static override description =
    `Runs \`vtp eval-recon\` and, if asked for, \`vtp eval-zeroshot\` for each model, and prints a Markdown table with
the protocols below it. Results that were made before come in with --results. Numbers of unequal sets of images
are refused.`
  static override examples = [
    {
      description: 'Two models, reconstruction and zero-shot',
      command:
        '<%= config.bin %> <%= command.id %> imagenet/val --model MiniMaxAI/VTP-Base-f16d64 --model MiniMaxAI/VTP-Large-f16d64 --tasks recon,zeroshot --out table',
    },
    {
      description: 'A table of results that are there',
      command: '<%= config.bin %> <%= command.id %> --results base/results.json --results large/results.json',
    },
  ]

  static override args = {
    source: Args.string({
      name: 'SOURCE',
      description: 'The dataset, as for `vtp encode`. May be left out with --results.',
    }),
  }

  static override flags = {
    model: Flags.string({
      char: 'm',
      multiple: true,
      default: ['nano'],
      summary: 'A model; may be given several times.',
      helpValue: 'MODEL',
    }),
    results: Flags.string({
      multiple: true,
      default: [],
      summary: 'Results of an earlier evaluation; may be given several times.',
      helpValue: 'FILE.json',
    }),
    tasks: Flags.string({
      default: 'recon',
      summary: `What to evaluate: a comma-separated list of ${TASKS.join(', ')}.`,
      helpValue: 'LIST',
    }),
    metrics: Flags.string({
      default: METRICS.join(','),
      summary: `Reconstruction: a comma-separated list of ${METRICS.join(', ')}.`,
      helpValue: 'LIST',
    }),
    classnames: Flags.string({ summary: 'Zero-shot: file with the class names.', helpValue: 'FILE' }),
    templates: Flags.string({ summary: 'Zero-shot: file with the templates.', helpValue: 'FILE' }),
    precision: RUN_FLAGS.precision,
    'decoder-precision': DECODER_PRECISION_FLAG,
    out: Flags.string({
      char: 'o',
      summary: 'Folder for results.md, results.json and a folder per model.',
      helpValue: 'DIR',
    }),
    ...EVAL_FLAGS,
  }

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Eval)
    const { runEval } = await import('../cli/run/eval.js')
    return runEval(this.context(), {
      ...flags,
      source: args.source,
      tasks: parseNames('--tasks', flags.tasks, TASKS, 'task'),
      metrics: parseNames('--metrics', flags.metrics, METRICS, 'metric'),
      batchSize: parseCount('--batch-size', flags['batch-size']),
      maxBad: parseFraction('--max-bad', flags['max-bad']),
    })
  }
}
