import { BaseCommand } from '../cli/base-command.js'
import { EVAL_PROBE_FLAGS } from '../cli/flags/eval-probe-flags.js'

export default class EvalProbe extends BaseCommand<typeof EvalProbe> {
  static override summary = 'Train linear heads on frozen features and report the best: the linear probe.'
  static override description =
    `The official probe: random resized crops and flips at 224 pixels, heads on the CLS tokens of the last 1 and 4
blocks and the mean of the last patch tokens, 13 learning rates at once, 10 × 1,250 steps of 128, cosine; the best
head over epochs counts. The whole grid is reported.

With --features the probe uses what \`vtp encode\` wrote (--outputs layers --layers 4): no augmentation, minutes
instead of hours; a k-NN classifier and a ridge probe come with it.`
  static override examples = [
    {
      description: 'The number of the model card',
      command:
        '<%= config.bin %> <%= command.id %> --train imagenet/train --val imagenet/val --model MiniMaxAI/VTP-Large-f16d64 --out probe',
    },
    {
      description: 'On features that are there: features/train and features/val',
      command: '<%= config.bin %> <%= command.id %> --features features --epochs 5 --epoch-length 500',
    },
  ]

  static override flags = EVAL_PROBE_FLAGS

  async run(): Promise<unknown> {
    const { flags } = await this.input(EvalProbe)
    const { runEvalProbe } = await import('../cli/run/eval-probe.js')
    return runEvalProbe(this.context(), flags)
  }
}
