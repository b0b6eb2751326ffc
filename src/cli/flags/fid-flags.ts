/** Flags of the commands that compare sets of images. */
import { Flags } from '@oclif/core'
import { declareFlags, valueFlag } from './declare.js'
import { EVAL_FLAGS, NEIGHBOUR_FLAG, PR_IMAGES_FLAG } from './eval-flags.js'
import { parseNames } from './parse.js'

const FID_METRICS = ['fid', 'sfid', 'kid', 'is', 'prec'] as const
const GEN_METRICS = ['fid', 'sfid', 'is', 'prec'] as const

/** Of `vtp fid`. */
export const FID_FLAGS = declareFlags({
  metrics: valueFlag((flag, text) => parseNames(flag, text, FID_METRICS, 'metric'), {
    default: 'fid',
    summary: `What to compute: a comma-separated list of ${FID_METRICS.join(', ')}.`,
    description: 'sfid compares 17 × 17 maps; is is the Inception Score of B; prec is precision and recall.',
    helpValue: 'LIST',
  }),
  flavour: Flags.option({
    default: 'pytorch-fid',
    options: ['pytorch-fid', 'adm', 'clean-fid'] as const,
    summary: 'Whose protocol: how images become 299 × 299 pixels.',
    description:
      'pytorch-fid: bilinear, pixel centres. adm: bilinear as TensorFlow 1. clean-fid: bicubic with antialiasing.',
  })(),
  dims: Flags.integer({
    default: 2048,
    options: ['64', '192', '768', '2048'],
    summary: 'Width of the features; other than 2048 goes with fid alone.',
  }),
  'save-stats': Flags.string({ summary: "Write A's statistics (mu, sigma) to this file.", helpValue: 'FILE.npz' }),
  'kid-subsets': Flags.integer({ default: 100, min: 1, summary: 'KID: number of random subsets.', helpValue: 'N' }),
  'kid-subset-size': Flags.integer({ default: 1000, min: 2, summary: 'KID: images of a subset.', helpValue: 'N' }),
  neighbour: NEIGHBOUR_FLAG,
  'pr-images': PR_IMAGES_FLAG,
  ...EVAL_FLAGS,
})

/** Of `vtp eval-gen`. */
export const EVAL_GEN_FLAGS = declareFlags({
  reference: Flags.string({
    required: true,
    summary: "The reference: ADM's .npz, statistics (mu and sigma), or images.",
    helpValue: 'FILE.npz',
  }),
  metrics: valueFlag((flag, text) => parseNames(flag, text, GEN_METRICS, 'metric'), {
    default: GEN_METRICS.join(','),
    summary: `What to compute: a comma-separated list of ${GEN_METRICS.join(', ')}.`,
    helpValue: 'LIST',
  }),
  flavour: Flags.option({
    default: 'adm',
    options: ['adm', 'pytorch-fid', 'clean-fid'] as const,
    summary: 'Whose protocol: how images become 299 × 299 pixels.',
  })(),
  neighbour: NEIGHBOUR_FLAG,
  'pr-images': PR_IMAGES_FLAG,
  ...EVAL_FLAGS,
})
