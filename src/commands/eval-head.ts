import { BaseCommand } from '../cli/base-command.js'
import { EVAL_HEAD_FLAGS } from '../cli/flags/eval-flags.js'
import { DATASET_ARG } from '../cli/flags/run-flags.js'

export default class EvalHead extends BaseCommand<typeof EvalHead> {
  static override summary = 'Classify a labelled dataset by the head of a fine-tuned model: top-1 and top-5.'
  static override description =
    `For checkpoints that were fine-tuned as classifiers, such as mae_finetuned_vit_large.pth. The model card's 85.9
for MAE is this number, not a linear probe. Labels are positions in the head: for ImageNet, class folders in their
usual order.`
  static override examples = [
    {
      description: "MAE's number of the model card",
      command: '<%= config.bin %> <%= command.id %> imagenet/val --model mae_finetuned_vit_large.pth',
    },
  ]

  static override args = { source: DATASET_ARG }

  static override flags = EVAL_HEAD_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(EvalHead)
    const { runEvalHead } = await import('../cli/run/eval-classes.js')
    return runEvalHead(this.context(), { ...flags, ...args })
  }
}
