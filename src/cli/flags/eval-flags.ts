/** Flags that the evaluation commands share. */
import { Flags } from '@oclif/core'
import { declareFlags, valueFlag } from './declare.js'
import { parseCount, parseFraction, parseNames } from './parse.js'
import { MODEL_FLAG, RUN_FLAGS } from './run-flags.js'
import { COLUMN_FLAGS } from './source-flags.js'

export const EVAL_FLAGS = {
  weights: Flags.string({
    summary: 'Folder with the weights of the networks that metrics need (Inception, VGG16, LPIPS).',
    description:
      'Looked for by their published names. Without it they come from the cache, or are downloaded once and checked by SHA-256.',
    helpValue: 'DIR',
  }),
  limit: Flags.integer({
    min: 1,
    summary: 'Use at most this many images, from the start of the listing.',
    helpValue: 'N',
  }),
  ...COLUMN_FLAGS,
  'batch-size': valueFlag(parseCount, {
    default: 'auto',
    summary: 'Images per pass of a network. It does not change the results.',
    helpValue: 'N',
  }),
  'checkpoint-seconds': Flags.integer({
    default: 60,
    min: 0,
    summary: 'How often progress is made durable, for an interrupted run to continue from; 0 is after every batch.',
    helpValue: 'N',
  }),
  device: Flags.string({ default: 'auto', summary: 'auto, cpu, cuda or cuda:1.', helpValue: 'DEVICE' }),
  seed: Flags.integer({ default: 0, min: 0, summary: 'Seed of everything that is drawn at random.', helpValue: 'N' }),
  'max-bad': valueFlag(parseFraction, {
    default: '1%',
    summary: 'Largest share of images that cannot be read and still counts as success, e.g. 0.01 or 1%.',
    helpValue: 'SHARE',
  }),
  'max-pixels': Flags.integer({
    default: 100_000_000,
    min: 1,
    summary: 'Leave out images with more pixels than this.',
    helpValue: 'N',
  }),
} as const

/** Of the pixel decoder, in reconstruction. */
export const DECODER_PRECISION_FLAG = Flags.string({
  default: 'fp32',
  summary: 'Arithmetic of the pixel decoder: as --precision, which is that of the encoder.',
  description: 'The official script decodes at fp32, whatever it encodes at. `vtp decode` has one precision for all.',
  helpValue: 'NAME',
})

/** Which neighbour sets the radius of precision and recall. */
export const NEIGHBOUR_FLAG = Flags.integer({
  default: 3,
  min: 1,
  summary: 'Precision and recall: neighbour that sets the radius.',
  helpValue: 'K',
})

/** How many images precision and recall look at; their cost grows with the square. */
export const PR_IMAGES_FLAG = Flags.integer({
  default: 50_000,
  min: 4,
  summary: 'Precision and recall: at most this many images of each set, drawn by --seed.',
  helpValue: 'N',
})

const OVERWRITE_FLAG = Flags.boolean({
  default: false,
  summary: 'Start anew in an --out folder that holds another evaluation.',
})

const METRICS = ['psnr', 'ssim', 'lpips', 'rfid'] as const
const TASKS = ['recon', 'zeroshot', 'probe'] as const
const parseMetrics = (flag: string, text: string) => parseNames(flag, text, METRICS, 'metric')
const parseTasks = (flag: string, text: string) => parseNames(flag, text, TASKS, 'task')
const { weights: _, ...WITHOUT_WEIGHTS } = EVAL_FLAGS

/** Of `vtp eval-recon`. */
export const EVAL_RECON_FLAGS = declareFlags({
  model: MODEL_FLAG,
  metrics: valueFlag(parseMetrics, {
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
  overwrite: OVERWRITE_FLAG,
  ...EVAL_FLAGS,
})

/** Of `vtp eval-zeroshot`. */
export const EVAL_ZEROSHOT_FLAGS = declareFlags({
  model: MODEL_FLAG,
  classnames: Flags.string({
    summary:
      "File with the class names, one per line or a JSON list, or 'folder' for the names of the class folders. Default: the 1,000 of ImageNet.",
    helpValue: 'FILE|folder',
  }),
  templates: Flags.string({
    summary: 'File with one template per line, {} or {c} for the name. Default: the 80 of OpenCLIP.',
    helpValue: 'FILE',
  }),
  transform: Flags.string({
    summary: 'Preprocessing; default "resize(S,S,bilinear)" at the size of the model, as the official script.',
    helpValue: 'SPEC',
  }),
  precision: RUN_FLAGS.precision,
  out: Flags.string({
    char: 'o',
    summary: 'Write the result with all classes to this file.',
    helpValue: 'FILE.json',
  }),
  ...WITHOUT_WEIGHTS,
})

/** Of `vtp eval-head`. */
export const EVAL_HEAD_FLAGS = declareFlags({
  model: MODEL_FLAG,
  transform: Flags.string({ summary: "Preprocessing; default the model's own.", helpValue: 'SPEC' }),
  precision: RUN_FLAGS.precision,
  out: Flags.string({ char: 'o', summary: 'Write the result with all classes to this file.', helpValue: 'FILE.json' }),
  ...WITHOUT_WEIGHTS,
})

/** Of `vtp eval`. */
export const EVAL_TABLE_FLAGS = declareFlags({
  model: Flags.string({
    char: 'm',
    multiple: true,
    default: ['nano'],
    summary: 'A model; may be given several times.',
    helpValue: 'MODEL',
  }),
  card: Flags.boolean({
    default: false,
    summary: "The table of VTP's model card: our number beside the published one, for checkpoints that are here.",
    description: 'Rows whose files are missing say what to pull. Every doubt about a published figure is a footnote.',
  }),
  rows: Flags.string({
    dependsOn: ['card'],
    summary: 'With --card: only these rows, e.g. vtp-l,clip.',
    helpValue: 'LIST',
  }),
  data: Flags.string({
    dependsOn: ['card'],
    summary: 'With --card: the dataset; a folder with train/ and val/, or the validation images themselves.',
    helpValue: 'SOURCE',
  }),
  'card-model': Flags.string({
    multiple: true,
    default: [],
    summary: 'With --card: take another checkpoint for a row; may be given several times.',
    helpValue: 'ROW=MODEL',
  }),
  results: Flags.string({
    multiple: true,
    default: [],
    summary: 'Results of an earlier evaluation; may be given several times.',
    helpValue: 'FILE.json',
  }),
  tasks: valueFlag(parseTasks, {
    default: 'recon',
    summary: `What to evaluate: a comma-separated list of ${TASKS.join(', ')}.`,
    helpValue: 'LIST',
  }),
  metrics: valueFlag(parseMetrics, {
    default: METRICS.join(','),
    summary: `Reconstruction: a comma-separated list of ${METRICS.join(', ')}.`,
    helpValue: 'LIST',
  }),
  classnames: Flags.string({
    summary: "Zero-shot: file with the class names, or 'folder' for those of the class folders.",
    helpValue: 'FILE|folder',
  }),
  templates: Flags.string({ summary: 'Zero-shot: file with the templates.', helpValue: 'FILE' }),
  'probe-train': Flags.string({
    summary: 'Probe: images with the same classes that ridge probes are fitted on.',
    helpValue: 'SOURCE',
  }),
  transform: Flags.string({
    summary: "Preprocessing of all tasks; default each task's own, as the official scripts.",
    helpValue: 'SPEC',
  }),
  precision: RUN_FLAGS.precision,
  'decoder-precision': DECODER_PRECISION_FLAG,
  out: Flags.string({
    char: 'o',
    summary: 'Folder for results.md, results.json and a folder per model.',
    helpValue: 'DIR',
  }),
  overwrite: OVERWRITE_FLAG,
  ...EVAL_FLAGS,
})
