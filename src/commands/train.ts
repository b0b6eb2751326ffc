import { BaseCommand } from '../cli/base-command.js'
import { LATENTS_ARG, TRAIN_FLAGS } from '../cli/flags/train-flags.js'

export default class Train extends BaseCommand<typeof Train> {
  static override summary = 'Train a LightningDiT on latents: checkpoints, log, samples and report.'
  static override description =
    `Trains the diffusion transformer on shards of \`vtp encode\`. Settings come from the flags, else from one of the
reference's YAML configurations (--dit-config), which is read as it is.

Checkpoints have the layout of the reference's train.py: checkpoints/0000100.pt holds model, ema, opt and
config, and \`vtp generate --dit\` opens it. log.jsonl has one object per step. A training is a pure function
of latents, settings and seed: running the same command again continues it, and no bit depends on
interruptions, threads or folders.

Exit codes: 0 done; 2 wrong usage; 3 failed; 4 interrupted.`
  static override examples = [
    {
      description: "As the reference's configuration says",
      command: '<%= config.bin %> <%= command.id %> latents --dit-config train_vtp_l_dit_xl.yaml --out training',
    },
    {
      description: 'A small model, with grids of samples',
      command:
        '<%= config.bin %> <%= command.id %> latents --size 256x8x4/1 --batch-size 64 --steps 20000 --samples-every 1000 --out training',
    },
    {
      description: 'On from a checkpoint of train.py, its optimiser included',
      command:
        '<%= config.bin %> <%= command.id %> latents --dit-config train_vtp_l_dit_xl.yaml --init 0080000.pt --steps 100000 --out training',
    },
  ]

  static override args = { latents: LATENTS_ARG }
  static override flags = TRAIN_FLAGS

  async run(): Promise<unknown> {
    const { recipeFromConfig } = await import('../cli/run/generate.js')
    this.argv = await recipeFromConfig(this.argv)
    const { args, flags } = await this.input(Train)
    const { runTrainCommand } = await import('../cli/run/train.js')
    return runTrainCommand(this.context(), { ...flags, latents: args.latents })
  }
}
