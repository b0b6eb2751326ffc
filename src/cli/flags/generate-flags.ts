/** Flags of `vtp generate`. */
import { Flags } from '@oclif/core'
import { parseClasses } from '../../generate/labels.js'
import { declareFlags, valueFlag } from './declare.js'
import { parseChannels, parseGrid, parseNumber } from './parse.js'
import { RUN_FLAGS } from './run-flags.js'

/** How latents are sampled. Without a default: the configuration of --dit-config decides, then the default in the text. */
const GENERATE_SAMPLING_FLAGS = {
  stats: Flags.string({
    summary: 'Statistics of the latents: latents_stats.pt or the folder that holds it, or none.',
    helpValue: 'FILE',
  }),
  'latent-multiplier': valueFlag(parseNumber, {
    summary: 'Divide samples by this before adding the mean (1).',
    helpValue: 'X',
  }),
  num: Flags.integer({ char: 'n', summary: 'Number of images, e.g. 50000.', helpValue: 'N' }),
  classes: valueFlag((_flag, text) => parseClasses(text), {
    summary: 'Class numbers, e.g. 207,360 or 0-9, or all (the default).',
    helpValue: 'LIST',
  }),
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
  'timestep-shift': valueFlag(parseNumber, {
    summary: 'Shift s of the times: s·t / (1 + (s−1)·t); 0 is none (0).',
    helpValue: 'S',
  }),
  'cfg-scale': valueFlag(parseNumber, { summary: 'Classifier-free guidance; at most 1 is none (1).', helpValue: 'X' }),
  'cfg-interval-start': valueFlag(parseNumber, { summary: 'Guide from this time on (0).', helpValue: 'T' }),
  'cfg-channels': valueFlag(parseChannels, {
    summary: "Channels that guidance changes: a number or all. The reference's are the first 3.",
    helpValue: 'N|all',
  }),
  atol: valueFlag(parseNumber, { summary: 'dopri5: absolute tolerance (1e-6).', helpValue: 'X' }),
  rtol: valueFlag(parseNumber, { summary: 'dopri5: relative tolerance (1e-3).', helpValue: 'X' }),
  'control-group': Flags.integer({
    min: 1,
    summary: "dopri5: consecutive images that share a step size, as a batch of the reference's does (4).",
    helpValue: 'N',
  }),
} as const

const { 'batch-size': batchSize, device, precision, units, overwrite } = RUN_FLAGS

/** How the job runs and what it writes. */
const GENERATE_RUN_FLAGS = {
  npz: Flags.boolean({
    default: false,
    summary: 'Also write all images into samples.npz: arr_0 uint8 [N,H,W,3] as ADM evaluates it, arr_1 classes.',
  }),
  grid: valueFlag(parseGrid, {
    summary: 'Also write a preview of the first images, preview/grid-4x8.png. Without --num, so many are made.',
    helpValue: 'ROWSxCOLUMNS',
  }),
  latents: Flags.option({
    options: ['parquet', 'arrow', 'safetensors'] as const,
    summary: 'Also write the latents, one shard per unit.',
  })(),
  'latents-dtype': Flags.option({
    options: ['float16', 'float32'] as const,
    default: 'float32',
    summary: 'Element type of the latents.',
  })(),
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
  'same-processor': RUN_FLAGS['same-processor'],
  units,
  overwrite,
  'dry-run': Flags.boolean({ default: false, summary: 'Check everything and show the plan; write nothing.' }),
} as const

/** Of `vtp generate`. */
export const GENERATE_FLAGS = declareFlags({
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
    summary: 'The model whose pixel decoder is used: a folder, a hub id, or nano (the default).',
    helpValue: 'MODEL',
  }),
  ...GENERATE_SAMPLING_FLAGS,
  ...GENERATE_RUN_FLAGS,
})
