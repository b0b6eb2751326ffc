/** Flags of `vtp generate`. Numbers that may be fractions are text, parsed by generate-command.ts. */
import { Flags } from '@oclif/core'
import { RUN_FLAGS } from './run-flags.js'

/** How latents are sampled. Without a default: the configuration of --dit-config decides, then the default in the text. */
export const GENERATE_SAMPLING_FLAGS = {
  stats: Flags.string({
    summary: 'Statistics of the latents: latents_stats.pt or the folder that holds it, or none.',
    helpValue: 'FILE',
  }),
  'latent-multiplier': Flags.string({ summary: 'Divide samples by this before adding the mean (1).', helpValue: 'X' }),
  num: Flags.integer({ char: 'n', summary: 'Number of images, e.g. 50000.', helpValue: 'N' }),
  classes: Flags.string({ summary: 'Class numbers, e.g. 207,360 or 0-9, or all (the default).', helpValue: 'LIST' }),
  labels: Flags.string({
    summary: 'How classes are assigned: balanced (default for a list), random (default for all), or a file of classes.',
    description:
      'balanced: image i gets the (i mod n)-th class. random: drawn uniformly, from (seed, i). A file (.safetensors, .pt, .npy or .npz, FILE#NAME for a tensor in it) has one class per image.',
    helpValue: 'MODE|FILE',
  }),
  seed: Flags.integer({ min: 0, summary: 'Seed of noise and random classes (0).', helpValue: 'N' }),
  noise: Flags.string({
    summary:
      'Given noise instead of the generator: a tensor [N,C,h,w] in a .safetensors, .pt, .npy or .npz file (FILE#NAME).',
    helpValue: 'FILE',
  }),
  sampler: Flags.string({ summary: 'euler (default), heun or dopri5.', helpValue: 'NAME' }),
  steps: Flags.integer({
    summary: 'Points of time from noise to data; one step fewer are made (250).',
    helpValue: 'N',
  }),
  'timestep-shift': Flags.string({
    summary: 'Shift s of the times: s·t / (1 + (s−1)·t); 0 is none (0).',
    helpValue: 'S',
  }),
  'cfg-scale': Flags.string({ summary: 'Classifier-free guidance; at most 1 is none (1).', helpValue: 'X' }),
  'cfg-interval-start': Flags.string({ summary: 'Guide from this time on (0).', helpValue: 'T' }),
  'cfg-channels': Flags.string({
    summary: "Channels that guidance changes: a number or all. The reference's are the first 3.",
    helpValue: 'N|all',
  }),
  atol: Flags.string({ summary: 'dopri5: absolute tolerance (1e-6).', helpValue: 'X' }),
  rtol: Flags.string({ summary: 'dopri5: relative tolerance (1e-3).', helpValue: 'X' }),
  'control-group': Flags.integer({
    min: 1,
    summary: "dopri5: consecutive images that share a step size, as a batch of the reference's does (4).",
    helpValue: 'N',
  }),
} as const

const { 'batch-size': batchSize, device, precision, units, overwrite } = RUN_FLAGS

/** How the job runs and what it writes. */
export const GENERATE_RUN_FLAGS = {
  npz: Flags.boolean({
    default: false,
    summary: 'Also write all images into samples.npz: arr_0 uint8 [N,H,W,3] as ADM evaluates it, arr_1 classes.',
  }),
  grid: Flags.string({
    summary: 'Also write a preview of the first images, preview/grid-4x8.png. Without --num, so many are made.',
    helpValue: 'ROWSxCOLUMNS',
  }),
  latents: Flags.string({
    options: ['parquet', 'arrow', 'safetensors'],
    summary: 'Also write the latents, one shard per unit.',
  }),
  'latents-dtype': Flags.string({
    options: ['float16', 'float32'],
    default: 'float32',
    summary: 'Element type of the latents.',
  }),
  'shard-rows': Flags.integer({
    min: 1,
    summary: 'Images per unit of work. Default: 16 on a CPU, 256 on a GPU.',
    helpValue: 'N',
  }),
  'batch-size': batchSize,
  device,
  precision,
  'require-gpu': RUN_FLAGS['require-gpu'],
  'worker-index': RUN_FLAGS['worker-index'],
  'worker-count': RUN_FLAGS['worker-count'],
  'help-others': RUN_FLAGS['help-others'],
  units,
  overwrite,
  'dry-run': Flags.boolean({ default: false, summary: 'Check everything and show the plan; write nothing.' }),
} as const
