import { BaseCommand } from '../cli/base-command.js'
import { PRETRAIN_FLAGS } from '../cli/flags/pretrain-flags.js'

export default class Pretrain extends BaseCommand<typeof Pretrain> {
  static override summary = 'Joint pre-training steps of a VTP model on given batches.'
  static override description =
    `Contrastive, self-supervised and reconstruction losses on one trunk, AdamW, and a teacher that follows the
student. Every view, mask and kept row comes from --replay, so that whole steps can be compared with another
implementation's. Batches from images are not made by this version.

DEST gets log.jsonl, one line per step, and checkpoints/NNNNNNN: config.json and model.safetensors in the published
layout, and training.safetensors with head, teacher, AdamW's moments and centres.`
  static override examples = [
    {
      description: 'Three steps',
      command:
        '<%= config.bin %> <%= command.id %> --replay batches.safetensors --init case --recipe recipe.json --steps 3 --out run',
    },
  ]

  static override flags = PRETRAIN_FLAGS

  async run(): Promise<unknown> {
    const { flags } = await this.input(Pretrain)
    const { runPretrain } = await import('../cli/run/pretrain.js')
    return runPretrain(this.context(), flags)
  }
}
