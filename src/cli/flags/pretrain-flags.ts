/** Flags of `vtp pretrain`. */
import { Args, Flags } from '@oclif/core'
import { declareFlags } from './declare.js'
import { DATASET_ARG, RUN_FLAGS } from './run-flags.js'
import { COLUMN_FLAGS } from './source-flags.js'
import { TRAIN_FLAGS } from './train-flags.js'

export const PRETRAIN_ARG = Args.string({ ...DATASET_ARG, name: 'SOURCE', required: false })

export const STAGES = ['joint', 'decoder'] as const

const WHAT = {
  stage: Flags.string({
    options: [...STAGES],
    default: 'joint',
    summary: 'What is trained: the whole model, or the pixel decoder of --init with a GAN, its tokenizer frozen.',
  }),
  recipe: Flags.string({
    required: true,
    summary: 'YAML or JSON with `model`, `config` and `hyper_parameters`: one of recipes/, or your own.',
    helpValue: 'FILE.yaml',
  }),
  set: Flags.string({
    multiple: true,
    multipleNonGreedy: true,
    summary: 'A value in place of the recipe’s, e.g. hyper_parameters.w_ssl=0. May be given several times.',
    helpValue: 'KEY=VALUE',
  }),
  steps: Flags.integer({ min: 1, summary: "Number of the last step. Default: the recipe's.", helpValue: 'N' }),
  seed: Flags.integer({
    default: 0,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    summary: 'Seed of weights, order, views, masks and captions.',
    helpValue: 'N',
  }),
  init: Flags.string({
    summary:
      'Folder to begin with: config.json and model.safetensors, with training.safetensors (head and teacher) where there is one. Default: fresh weights. With --stage decoder: the model, also a hub id or nano.',
    helpValue: 'DIR',
  }),
  latents: Flags.string({
    summary: 'With --stage decoder: shards of `vtp encode` over SOURCE by --init. Default: made once, in DEST.',
    helpValue: 'DIR',
  }),
  replay: Flags.string({
    summary: 'Given batches instead of SOURCE: views, tokens, masks and kept rows of every step.',
    description:
      'A safetensors file with `stepI.clip_u8`, `global_u8`, `local_u8`, `rec_u8` (uint8, N × H × W × 3), `tokens`, `masks`, `mask_indices`, `masks_weight`, and with stochastic depth `keep.BRANCH.blockB.attn` and `.ffn` (`.global` and `.local` for ssl). Crops are crop-major. Goes with --init and --steps.',
    helpValue: 'FILE.safetensors',
  }),
}

const CAPTIONS = {
  classnames: Flags.string({
    summary:
      'Captions from class names: a file with one name per line, or folder. Default: the captions of SOURCE, else the names of its class folders.',
    helpValue: 'FILE|folder',
  }),
  templates: Flags.string({
    summary: 'A file with one template per line, {c} for the class name. Default: the 80 of OpenCLIP.',
    helpValue: 'FILE',
  }),
  ...COLUMN_FLAGS,
  limit: Flags.integer({ min: 1, summary: 'Take the first N images of the listing only.', helpValue: 'N' }),
}

const EVALUATION = {
  'samples-every': Flags.integer({
    min: 1,
    summary: 'Steps between sheets of reconstructions and patch tokens, in samples/. Default: none.',
    helpValue: 'N',
  }),
  'eval-every': Flags.integer({
    min: 1,
    summary:
      'Steps between evaluations on --eval-source: zero-shot, probes, PSNR and SSIM; LPIPS and rFID where --weights has their networks.',
    helpValue: 'N',
  }),
  'eval-source': Flags.string({ summary: 'Held-out images, in class folders or with labels.', helpValue: 'SOURCE' }),
  'eval-train': Flags.string({
    summary: 'Images with classes that probes are fitted on. Default: no probes.',
    helpValue: 'SOURCE',
  }),
  'eval-limit': Flags.integer({ min: 1, summary: 'Use the first N images of each set.', helpValue: 'N' }),
}

export const PRETRAIN_FLAGS = declareFlags({
  out: Flags.string({ char: 'o', required: true, summary: 'Folder to write to.', helpValue: 'DEST' }),
  ...WHAT,
  ...CAPTIONS,
  export: Flags.string({
    options: ['student', 'teacher'],
    default: 'student',
    summary: 'Whose trunk and projection model.safetensors gets.',
  }),
  weights: Flags.string({
    summary:
      'Folder with the weights of VGG16 and LPIPS, where the recipe gives LPIPS a weight (without them: L1 on a Laplacian pyramid), and of Inception for rFID.',
    helpValue: 'DIR',
  }),
  'save-every': Flags.integer({
    min: 1,
    summary: "Steps between checkpoints. Default: the recipe's, else 1000.",
    helpValue: 'N',
  }),
  keep: TRAIN_FLAGS.keep,
  'checkpoint-seconds': TRAIN_FLAGS['checkpoint-seconds'],
  ...EVALUATION,
  threads: TRAIN_FLAGS.threads,
  workers: RUN_FLAGS.workers,
  'max-pixels': RUN_FLAGS['max-pixels'],
  overwrite: RUN_FLAGS.overwrite,
  'dry-run': TRAIN_FLAGS['dry-run'],
})
