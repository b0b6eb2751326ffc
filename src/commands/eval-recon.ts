import { Flags } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { DECODER_PRECISION_FLAG, EVAL_FLAGS } from '../cli/flags/eval-flags.js'
import { parseCount, parseFraction, parseNames } from '../cli/flags/parse.js'
import { DATASET_ARG, MODEL_FLAG, RUN_FLAGS } from '../cli/flags/run-flags.js'

const METRICS = ['psnr', 'ssim', 'lpips', 'rfid'] as const

export default class EvalRecon extends BaseCommand<typeof EvalRecon> {
  static override summary = 'Measure how well a model reconstructs a dataset: rFID, PSNR, SSIM and LPIPS.'
  static override description =
    `One pass over the images: encode, decode, compare; nothing is written but what --out and --report ask for.
The protocol is that of the official script and is printed with the numbers: centre crop of ADM at the model's
size, decoder output clamped, rFID on both sides truncated to 8 bits, SSIM and LPIPS as means over batches of 32.

It can be interrupted and continued by the same command, and ends with the same numbers.`
  static override examples = [
    {
      description: 'The numbers of the model card',
      command: '<%= config.bin %> <%= command.id %> imagenet/val --model MiniMaxAI/VTP-Large-f16d64 --out recon',
    },
    {
      description: 'PSNR and SSIM alone need no other network',
      command: '<%= config.bin %> <%= command.id %> photos --metrics psnr,ssim',
    },
    {
      description: 'A page with histograms and the worst and best images',
      command: '<%= config.bin %> <%= command.id %> photos --limit 1000 --report report.html',
    },
    {
      description: 'Keep the images, as the official script does',
      command: '<%= config.bin %> <%= command.id %> photos --out recon --save-images --weights weights',
    },
  ]

  static override args = { source: DATASET_ARG }

  static override flags = {
    model: MODEL_FLAG,
    metrics: Flags.string({
      default: METRICS.join(','),
      summary: `What to compute: a comma-separated list of ${METRICS.join(', ')}.`,
      helpValue: 'LIST',
    }),
    transform: Flags.string({
      summary: 'Preprocessing; default "adm-crop(S)" at the size of the model, as the official script.',
      helpValue: 'SPEC',
    }),
    precision: RUN_FLAGS.precision,
    'decoder-precision': DECODER_PRECISION_FLAG,
    out: Flags.string({
      char: 'o',
      summary: 'Folder for results.json, per-image.parquet and what a later run continues from (the cache, otherwise).',
      helpValue: 'DIR',
    }),
    report: Flags.string({ summary: 'Write a self-contained page with numbers and pictures.', helpValue: 'FILE.html' }),
    'save-images': Flags.boolean({
      default: false,
      summary: 'Write both sides as PNG to reference/ and reconstructed/ in --out.',
    }),
    'protocol-batch': Flags.integer({
      default: 32,
      min: 1,
      summary:
        'SSIM and LPIPS are averaged over batches of this size first, as the official script does; 1 gives plain means.',
      helpValue: 'N',
    }),
    overwrite: Flags.boolean({
      default: false,
      summary: 'Start anew in an --out folder that holds another evaluation.',
    }),
    ...EVAL_FLAGS,
  }

  async run(): Promise<unknown> {
    const { args, flags } = await this.input(EvalRecon)
    const { runEvalRecon } = await import('../cli/run/eval-recon.js')
    return runEvalRecon(this.context(), {
      ...flags,
      source: args.source,
      metrics: parseNames('--metrics', flags.metrics, METRICS, 'metric'),
      batchSize: parseCount('--batch-size', flags['batch-size']),
      maxBad: parseFraction('--max-bad', flags['max-bad']),
    })
  }
}
