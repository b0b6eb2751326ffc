import { Flags } from '@oclif/core'
import { BaseCommand } from '../cli/base-command.js'
import { EVAL_FLAGS } from '../cli/flags/eval-flags.js'
import { parseBooleans, parseNumbers, probeSets } from '../cli/flags/eval-probe-flags.js'
import { parseCount, parseFraction } from '../cli/flags/parse.js'
import { MODEL_FLAG, RUN_FLAGS } from '../cli/flags/run-flags.js'

const { weights: _, ...FLAGS } = EVAL_FLAGS

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

  static override flags = {
    train: Flags.string({ summary: 'Training images with classes (any SOURCE).', helpValue: 'SOURCE' }),
    val: Flags.string({ summary: 'Validation images with the same classes.', helpValue: 'SOURCE' }),
    features: Flags.string({
      exclusive: ['train', 'val'],
      summary: 'Folder with train/ and val/ of shards with features, instead of images.',
      helpValue: 'DIR',
    }),
    model: MODEL_FLAG,
    epochs: Flags.integer({
      default: 10,
      min: 1,
      summary: 'Epochs; the heads are validated after each.',
      helpValue: 'N',
    }),
    'epoch-length': Flags.integer({ default: 1250, min: 1, summary: 'Steps of an epoch.', helpValue: 'N' }),
    blocks: Flags.string({
      default: '1,4',
      summary: 'Numbers of last blocks whose CLS tokens a head reads.',
      helpValue: 'LIST',
    }),
    avgpool: Flags.string({
      default: 'true',
      summary: 'Whether heads also read the mean of the patch tokens: true, false, or both as "true,false".',
      helpValue: 'LIST',
    }),
    'learning-rates': Flags.string({
      summary: 'Learning rates before scaling by batch / 256. Default: the 13 of the script.',
      helpValue: 'LIST',
    }),
    'distinct-rates': Flags.boolean({
      default: false,
      summary: 'Train every rate, also those that the script merges because their names are equal.',
    }),
    neighbours: Flags.integer({
      default: 20,
      min: 1,
      summary: 'With --features: neighbours of the k-NN classifier.',
      helpValue: 'K',
    }),
    precision: RUN_FLAGS.precision,
    out: Flags.string({
      char: 'o',
      summary: 'Folder for probe.json and what a later run continues from.',
      helpValue: 'DIR',
    }),
    ...FLAGS,
    'checkpoint-seconds': Flags.integer({
      default: 300,
      min: 0,
      summary: 'How often progress is made durable.',
      helpValue: 'N',
    }),
    'batch-size': Flags.string({
      default: '128',
      summary: 'Images per step: part of the protocol, which scales the learning rates by it.',
      helpValue: 'N',
    }),
  }

  async run(): Promise<unknown> {
    const { flags } = await this.input(EvalProbe)
    const { runEvalProbe } = await import('../cli/run/eval-probe.js')
    return runEvalProbe(this.context(), {
      ...flags,
      ...probeSets(flags),
      blocks: parseNumbers('--blocks', flags.blocks),
      avgpool: parseBooleans('--avgpool', flags.avgpool),
      rates: parseNumbers('--learning-rates', flags['learning-rates']),
      batchSize: parseCount('--batch-size', flags['batch-size']),
      maxBad: parseFraction('--max-bad', flags['max-bad']),
    })
  }
}
