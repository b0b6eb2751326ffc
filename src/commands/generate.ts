import { Flags } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { GENERATE_RUN_FLAGS, GENERATE_SAMPLING_FLAGS } from '../cli/flags/generate-flags.js'
import { parseCount, parseUnits } from '../cli/flags/parse.js'

export default class Generate extends BaseCommand<typeof Generate> {
  static override summary = 'Generate images from noise: LightningDiT samples latents, the VTP decoder makes pixels.'
  static override description =
    `Samples class-conditional latents with a LightningDiT checkpoint and decodes them to PNG files
000000.png, 000001.png, … in --out. Settings come from the flags, else from one of the reference's YAML
configurations (--dit-config), which is read as it is.

Image i is a function of the settings and of i alone: batch size, number of workers and interruptions do
not change it. Running the same command again continues; --worker-index/--worker-count share the work.

Exit codes: 0 done; 2 wrong usage; 3 failed; 4 interrupted. docs/generation.md has the whole recipe.`
  static override examples = [
    {
      description: 'Two classes, balanced, with a preview',
      command:
        '<%= config.bin %> <%= command.id %> --dit 0100000.pt --model MiniMaxAI/VTP-Large-f16d64 --stats latents --classes 207,360 --grid 4x8 --out samples',
    },
    {
      description: "FID-50K as the reference's configuration says",
      command:
        '<%= config.bin %> <%= command.id %> --dit-config train_vtp_l_dit_xl.yaml --dit 0080000.pt --model MiniMaxAI/VTP-Large-f16d64 --stats latents --num 50000 --npz --out samples',
    },
    {
      description: 'One of three workers on the same folder',
      command:
        '<%= config.bin %> <%= command.id %> --dit 0100000.pt --stats latents --num 50000 --out samples --worker-index 0 --worker-count 3',
    },
  ]

  static override flags = {
    out: Flags.string({ char: 'o', required: true, summary: 'Folder to write the images to.', helpValue: 'DEST' }),
    dit: Flags.string({
      summary: 'The LightningDiT: a .pt file of its training (EMA weights are taken), or a state dict as .safetensors.',
      helpValue: 'CKPT',
    }),
    'dit-config': Flags.string({
      summary: "One of the reference's YAML configurations; the checkpoint must be of its shape.",
      helpValue: 'FILE.yaml',
    }),
    heads: Flags.integer({
      min: 1,
      summary: 'Attention heads, where neither the checkpoint nor a configuration shows their number.',
      helpValue: 'N',
    }),
    model: Flags.string({
      char: 'm',
      summary: 'The VTP model whose pixel decoder is used: a folder, a hub id, or nano (the default).',
      helpValue: 'MODEL',
    }),
    ...GENERATE_SAMPLING_FLAGS,
    ...GENERATE_RUN_FLAGS,
  }

  async run(): Promise<unknown> {
    const command = await import('../cli/run/generate.js')
    this.argv = await command.recipeFromConfig(this.argv)
    const { flags } = await this.input(Generate)
    const { latents, 'latents-dtype': dtype } = flags
    return command.runGenerateCommand(this.context(), {
      ...flags,
      ditConfig: flags['dit-config'],
      latentMultiplier: command.parseNumber('--latent-multiplier', flags['latent-multiplier']),
      timestepShift: command.parseNumber('--timestep-shift', flags['timestep-shift']),
      cfgScale: command.parseNumber('--cfg-scale', flags['cfg-scale']),
      cfgIntervalStart: command.parseNumber('--cfg-interval-start', flags['cfg-interval-start']),
      cfgChannels: command.parseChannels(flags['cfg-channels']),
      atol: command.parseNumber('--atol', flags.atol),
      rtol: command.parseNumber('--rtol', flags.rtol),
      controlGroup: flags['control-group'],
      classes: command.parseClasses(flags.classes),
      grid: command.parseGrid(flags.grid),
      latents: latents ? { format: latents as 'parquet', dtype: dtype as 'float32' } : undefined,
      shardRows: flags['shard-rows'],
      units: parseUnits(flags.units),
      batchSize: parseCount('--batch-size', flags['batch-size']),
    })
  }
}
