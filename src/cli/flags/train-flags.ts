/** Flags of `vtp train`. */
import { Args, Flags } from '@oclif/core'
import { declareFlags, valueFlag } from './declare.js'
import { parseGrid, parseLossScale, parseNumber } from './parse.js'
import { RUN_FLAGS } from './run-flags.js'

export const LATENTS_ARG = Args.string({
  name: 'LATENTS',
  required: false,
  description:
    'Shards of `vtp encode` in any format, or of the reference: a folder, a file or s3://bucket/prefix. Default: data.data_path of --dit-config.',
})

/** What is trained. */
const MODEL_FLAGS = {
  'dit-config': Flags.string({
    summary: "One of the reference's YAML configurations, read as its train.py reads it; flags win.",
    helpValue: 'FILE.yaml',
  }),
  size: Flags.string({
    summary: 'The model: LightningDiT-B/1 and so on, or WIDTHxDEPTHxHEADS/PATCH, e.g. 256x8x4/1.',
    helpValue: 'SIZE',
  }),
  heads: Flags.integer({ min: 1, summary: 'Attention heads, where nothing else shows their number.', helpValue: 'N' }),
  'num-classes': Flags.integer({
    min: 1,
    summary: "Classes that the model knows. Default: the configuration's, else as many as the data have.",
    helpValue: 'N',
  }),
  init: Flags.string({
    summary: 'Where to begin: a checkpoint of train.py or of vtp, with its optimiser and step, or weights alone.',
    helpValue: 'CKPT',
  }),
  replay: Flags.string({
    summary: 'Given batches instead of LATENTS: tensors stepN.x1, .x0, .t and .y_effective, N from 0.',
    helpValue: 'FILE',
  }),
  stats: Flags.string({
    summary: 'Statistics of the latents: latents_stats.pt or a folder with it, or none. Default: those of LATENTS.',
    helpValue: 'FILE',
  }),
  'latent-multiplier': valueFlag(parseNumber, { summary: 'Multiply normalised latents by this (1).', helpValue: 'X' }),
}

/** How it is trained. Without a default: the configuration decides, then the value in the text. */
const OPTIMISER_FLAGS = {
  steps: Flags.integer({
    min: 1,
    summary: 'Number of the last step, counted from the very beginning.',
    helpValue: 'N',
  }),
  'batch-size': Flags.integer({ min: 1, summary: 'Images per step (256).', helpValue: 'N' }),
  'micro-batch': Flags.integer({
    min: 1,
    summary: 'Images that are computed at once; it decides memory and the last bits. Default: 4096 tokens of them.',
    helpValue: 'N',
  }),
  'checkpoint-activations': Flags.boolean({
    default: false,
    summary: 'Compute the blocks again for the gradients instead of keeping their values: less memory, more time.',
  }),
  precision: Flags.option({
    default: 'fp32',
    options: ['fp32', 'fp16', 'bf16'] as const,
    summary: 'Of matrix products; weights, moments and averages are float32 always. A CPU only imitates fp16 and bf16.',
  })(),
  'loss-scale': valueFlag(parseLossScale, {
    summary: 'What the loss is multiplied by for --precision fp16: dynamic (default), or a number.',
    helpValue: 'dynamic|X',
  }),
  'steps-per-run': Flags.integer({
    min: 1,
    summary: 'Steps between which the state stays on the device. Default: 1, with CUDA as many as take 20 s.',
    helpValue: 'N',
  }),
  lr: valueFlag(parseNumber, { summary: 'Learning rate (2e-4).', helpValue: 'X' }),
  'lr-schedule': Flags.option({
    options: ['constant', 'cosine'] as const,
    summary: 'constant, as the reference (default), or cosine: to zero at the last step.',
  })(),
  warmup: Flags.integer({ min: 0, summary: 'Steps over which the learning rate rises from zero (0).', helpValue: 'N' }),
  beta2: valueFlag(parseNumber, { summary: "AdamW's second beta (0.95).", helpValue: 'X' }),
  'weight-decay': valueFlag(parseNumber, { summary: "AdamW's decay of weights (0).", helpValue: 'X' }),
  'ema-decay': valueFlag(parseNumber, { summary: 'Decay of the averaged weights (0.9999).', helpValue: 'X' }),
  'max-grad-norm': valueFlag(parseNumber, {
    summary: 'Clip the norm of all gradients to this; 0 is not (0).',
    helpValue: 'X',
  }),
  'cosine-loss': Flags.boolean({ allowNo: true, summary: 'Add the cosine loss of velocities (on).' }),
  'label-dropout': valueFlag(parseNumber, {
    summary: 'Share of labels that are dropped, for guidance (0.1).',
    helpValue: 'X',
  }),
  seed: Flags.integer({
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    summary: 'Seed of weights, order, noise, times, flips and dropped labels (0).',
    helpValue: 'N',
  }),
}

/** What is written, and when. */
const OUTPUT_FLAGS = {
  'save-every': Flags.integer({ min: 1, summary: 'Steps between checkpoints (1000).', helpValue: 'N' }),
  keep: Flags.integer({ min: 1, summary: 'Keep the newest checkpoints only. Default: all.', helpValue: 'N' }),
  'checkpoint-seconds': Flags.integer({
    default: 600,
    min: 0,
    summary: 'How often a point to resume from is written between checkpoints.',
    helpValue: 'N',
  }),
  'samples-every': Flags.integer({
    min: 1,
    summary: 'Steps between grids of samples, in samples/. Default: none.',
    helpValue: 'N',
  }),
  grid: valueFlag(parseGrid, {
    default: '2x5',
    summary: 'Size of the grids; classes go on from left to right.',
    helpValue: 'ROWSxCOLUMNS',
  }),
  'eval-every': Flags.integer({
    min: 1,
    summary: 'Steps between evaluations: the FID of samples against --reference.',
    helpValue: 'N',
  }),
  reference: Flags.string({
    summary: 'What samples are compared with: statistics (.npz) or images.',
    helpValue: 'STATS.npz',
  }),
  'eval-num': Flags.integer({ default: 1000, min: 2, summary: 'Samples of an evaluation.', helpValue: 'N' }),
  flavour: Flags.option({
    default: 'adm',
    options: ['adm', 'pytorch-fid', 'clean-fid'] as const,
    summary: 'Whose protocol of FID: how images become 299 × 299 pixels.',
  })(),
  dims: Flags.integer({
    default: 2048,
    options: ['64', '192', '768', '2048'],
    summary: "Width of Inception's features.",
  }),
  weights: Flags.string({
    summary: "Folder with Inception's weights. Default: found or fetched as `vtp fid` does.",
    helpValue: 'DIR',
  }),
  model: Flags.string({
    char: 'm',
    summary: "The model whose decoder shows samples. Default: the configuration's, else nano.",
    helpValue: 'MODEL',
  }),
  'sampling-steps': Flags.integer({
    default: 50,
    min: 2,
    summary: 'Points of time of the sampler (Euler).',
    helpValue: 'N',
  }),
  'timestep-shift': valueFlag(parseNumber, {
    default: '0',
    summary: "Shift of the sampler's times; 0 is none.",
    helpValue: 'S',
  }),
  'cfg-scale': valueFlag(parseNumber, {
    default: '1',
    summary: 'Guidance of the samples; at most 1 is none.',
    helpValue: 'X',
  }),
}

export const TRAIN_FLAGS = declareFlags({
  out: Flags.string({ char: 'o', required: true, summary: 'Folder to write to.', helpValue: 'DEST' }),
  ...MODEL_FLAGS,
  ...OPTIMISER_FLAGS,
  ...OUTPUT_FLAGS,
  device: RUN_FLAGS.device,
  threads: Flags.integer({
    min: 1,
    summary: 'Threads of the engine; they change no bit. Default: all cores.',
    helpValue: 'N',
  }),
  overwrite: RUN_FLAGS.overwrite,
  export: Flags.string({
    summary:
      "Train nothing: write what the reference's train.py needs to go on, with launchers for torchrun and Slurm.",
    helpValue: 'DIR',
    exclusive: ['dry-run', 'overwrite'],
  }),
  'dry-run': Flags.boolean({
    default: false,
    summary: 'Compute one step, and show memory, time and disk of the whole training; write nothing.',
  }),
})
