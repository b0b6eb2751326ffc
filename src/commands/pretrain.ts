import { BaseCommand } from '../cli/base-command.js'
import { PRETRAIN_ARG, PRETRAIN_FLAGS } from '../cli/flags/pretrain-flags.js'

export default class Pretrain extends BaseCommand<typeof Pretrain> {
  static override summary = 'Pre-train a VTP model on images and captions: checkpoints, log and report.'
  static override description =
    `Trains the tokenizer itself: contrastive, self-supervised and reconstruction losses on one trunk, AdamW, and a
teacher that follows the student. The recipe says the model, the views, the weights of the losses and the schedules.
Captions come from SOURCE (.txt files or tar members beside the images, a caption column or field), else from class
names put into templates. A loss with the weight 0 is not computed.

DEST gets log.jsonl, one object per step, report.html, and checkpoints/NNNNNNN: config.json and model.safetensors in
the published layout, which every command here opens, with the rest of the state in training.safetensors. A run is a
pure function of images, recipe and seed: running the same command again continues it, and no bit depends on
interruptions, threads or folders. An image that cannot be read is replaced by the next one of the listing. From step
300 on, collapse and a contrastive loss that does not learn are told, once.

--stage decoder is the second stage: the pixel decoder of --init is fine-tuned with L1, LPIPS and a PatchGAN on latents
that are computed once. Nothing else of the model changes, and that is checked.

Exit codes: 0 done; 2 wrong usage; 3 failed; 4 interrupted.`
  static override examples = [
    {
      description: 'A small model on class folders, with a look at it every 500 steps',
      command:
        '<%= config.bin %> <%= command.id %> photos/train --recipe recipes/tiny-cpu.yaml --eval-every 500 --eval-source photos/test --samples-every 500 --out run',
    },
    {
      description: 'What that would take: memory, time and disk, from one step',
      command: '<%= config.bin %> <%= command.id %> photos/train --recipe recipes/tiny-cpu.yaml --out run --dry-run',
    },
    {
      description: 'The same without the self-supervised branch',
      command:
        '<%= config.bin %> <%= command.id %> photos/train --recipe recipes/tiny-cpu.yaml --set hyper_parameters.w_ssl=0 --out run-2',
    },
    {
      description: 'The second stage: the decoder of a model, judged and drawn every 1,000 steps',
      command:
        '<%= config.bin %> <%= command.id %> photos/train --stage decoder --init run/checkpoints/0002000 --recipe recipes/decoder.yaml --set config.image_size=64 --eval-every 1000 --eval-source photos/test --samples-every 1000 --out run-decoder',
    },
    {
      description: 'Three steps on given batches',
      command:
        '<%= config.bin %> <%= command.id %> --replay batches.safetensors --init case --recipe recipe.json --steps 3 --out run',
    },
  ]

  static override args = { source: PRETRAIN_ARG }
  static override flags = PRETRAIN_FLAGS

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(Pretrain)
    const given = { ...flags, source: args.source }
    if (flags.stage === 'decoder') {
      const { runDecoderCommand } = await import('../cli/run/pretrain-decoder.js')
      return runDecoderCommand(this.context(), given)
    }
    const { runPretrainCommand } = await import('../cli/run/pretrain.js')
    return runPretrainCommand(this.context(), given)
  }
}
