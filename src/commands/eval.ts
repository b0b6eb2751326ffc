import { Args } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { EVAL_TABLE_FLAGS } from '../cli/flags/eval-flags.js'

export default class Eval extends BaseCommand<typeof Eval> {
  static override summary = "Evaluate several models on one dataset and print one table, like the model card's."
  static override description =
    `Runs \`vtp eval-recon\` and, if asked for, \`vtp eval-zeroshot\` and ridge probes for each model, and prints a Markdown
table with the protocols below it. Results that were made before come in with --results. Numbers of unequal sets of images
are refused.`
  static override examples = [
    {
      description: 'Two models, reconstruction and zero-shot',
      command:
        '<%= config.bin %> <%= command.id %> imagenet/val --model MiniMaxAI/VTP-Base-f16d64 --model MiniMaxAI/VTP-Large-f16d64 --tasks recon,zeroshot --out table',
    },
    {
      description: 'What the latents know of classes, beside reconstruction and zero-shot',
      command:
        '<%= config.bin %> <%= command.id %> cifar/test --tasks recon,zeroshot,probe --probe-train cifar/train --classnames folder --metrics psnr --transform "resize(256,256,bicubic)"',
    },
    {
      description: "Two rows of VTP's model card",
      command: '<%= config.bin %> <%= command.id %> --card --rows clip,siglip --data imagenet --out card',
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

  static override flags = EVAL_TABLE_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Eval)
    if (flags.card) {
      const { runEvalCard } = await import('../cli/run/eval-card.js')
      return runEvalCard(this.context(), { ...flags, ...args })
    }
    const { runEval } = await import('../cli/run/eval.js')
    return runEval(this.context(), { ...flags, ...args })
  }
}
