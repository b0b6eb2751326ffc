/** Flags of the commands that make or read shards. */
import { Flags } from '@oclif/core'
import { declareFlags, valueFlag } from './declare.js'
import { parseCount, parseImageSize, parseLayers, parseOutputs } from './parse.js'
import { INPUT_FLAGS, MODEL_FLAG, RUN_FLAGS } from './run-flags.js'
import { SOURCE_FLAGS } from './source-flags.js'

/** Of `vtp encode`. */
export const ENCODE_FLAGS = declareFlags({
  out: Flags.string({
    char: 'o',
    required: true,
    summary: 'Folder or s3://bucket/prefix to write the shards to.',
    helpValue: 'DEST',
  }),
  model: MODEL_FLAG,
  outputs: valueFlag(parseOutputs, {
    default: 'latents',
    summary:
      'What to write: a comma-separated list of latents, clip, text, cls, patches, layers, codes, logits, pixels.',
    description:
      'All of them leave one pass of the model. latents [C,h,w]; clip [D], L2-normalised; text: the same of the caption, in column clip_text; cls [D] and patches [N,D] of the last block after the final norm; layers: cls and patches of the blocks chosen by --layers; codes int32, of quantised models; logits of a classification head; pixels uint8 [H,W,3], the preprocessed image. What a model lacks is refused.',
    helpValue: 'LIST',
  }),
  layers: valueFlag(parseLayers, {
    summary: 'Blocks for the output "layers": a number n for the last n, or a list of 0-based indices such as 3,7,11.',
    helpValue: 'N|LIST',
  }),
  'layers-norm': Flags.boolean({
    default: true,
    allowNo: true,
    summary: "Apply the model's final norm to the layers (the reference's default).",
  }),
  latents: Flags.option({
    options: ['mean', 'sample'] as const,
    summary: 'Of a model that gives a distribution (VA-VAE): its mean (the default), or a sample of it.',
    description: 'The reference of VA-VAE draws samples, unseeded. Here a sample is a function of --seed and the key.',
  })(),
  seed: Flags.integer({ default: 0, min: 0, summary: 'Seed of --latents sample.', helpValue: 'N' }),
  flip: Flags.boolean({
    allowNo: true,
    summary:
      'Add the outputs of the mirrored image, in columns with the suffix _flip. On by default for safetensors: the loader of LightningDiT draws from both.',
  }),
  format: Flags.option({
    default: 'arrow',
    options: ['arrow', 'parquet', 'safetensors'] as const,
    summary: 'File format of the shards.',
  })(),
  dtype: Flags.option({
    options: ['float16', 'float32'] as const,
    summary: 'Element type of the outputs; default float16, and float32 for safetensors as the reference writes it.',
  })(),
  ...SOURCE_FLAGS,
  ...INPUT_FLAGS,
  ...RUN_FLAGS,
})

/** Of `vtp embed`. */
export const EMBED_FLAGS = declareFlags({
  out: Flags.string({ char: 'o', required: true, summary: 'Folder to write the embeddings to.', helpValue: 'DEST' }),
  text: Flags.string({
    summary: 'Embed the lines of a file (- for stdin) instead of images.',
    helpValue: 'FILE',
    exclusive: ['transform', 'image-size'],
  }),
  captions: Flags.boolean({
    default: true,
    allowNo: true,
    summary: 'Embed captions, too, where the source has them.',
  }),
  model: MODEL_FLAG,
  format: Flags.option({
    default: 'parquet',
    options: ['parquet', 'arrow', 'npy'] as const,
    summary: "File format: parquet (a vector column), arrow, or npy (clip-retrieval's layout).",
  })(),
  dtype: Flags.option({
    default: 'float16',
    options: ['float16', 'float32'] as const,
    summary: 'Element type of the embeddings.',
  })(),
  ...SOURCE_FLAGS,
  ...INPUT_FLAGS,
  ...RUN_FLAGS,
})

/** Of `vtp decode`. */
export const DECODE_FLAGS = declareFlags({
  out: Flags.string({
    char: 'o',
    required: true,
    summary: 'Folder for the PNG files; for one image also a name ending in .png; with --grid a .png or .jpg file.',
    helpValue: 'DIR',
  }),
  model: MODEL_FLAG,
  grid: Flags.boolean({
    summary: 'All in one picture, in the order of the rows: the first 64, or --limit N.',
  }),
  'per-row': Flags.integer({
    min: 1,
    max: 100,
    dependsOn: ['grid'],
    summary: 'With --grid: images beside each other. Default: as square as it gets, at most 8.',
    helpValue: 'N',
  }),
  'side-by-side': Flags.boolean({
    default: false,
    summary: 'Images: the preprocessed original and the reconstruction in one picture.',
  }),
  transform: Flags.string({ summary: 'Images: preprocessing, as in `vtp encode`.', helpValue: 'SPEC' }),
  'image-size': valueFlag(parseImageSize, { summary: "Images: size of the model's input.", helpValue: 'S|HxW' }),
  limit: Flags.integer({ min: 1, summary: 'Decode at most this many rows.', helpValue: 'N' }),
  'any-model': Flags.boolean({ default: false, summary: 'Decode latents that another model has made.' }),
  'batch-size': valueFlag(parseCount, {
    default: 'auto',
    summary: 'Rows per pass of the decoder. It does not change the output.',
    helpValue: 'N',
  }),
  device: RUN_FLAGS.device,
  precision: RUN_FLAGS.precision,
})

/** Of `vtp show`. */
export const SHOW_FLAGS = declareFlags({
  out: Flags.string({ char: 'o', required: true, summary: 'File to write, .png or .jpg.', helpValue: 'FILE' }),
  model: MODEL_FLAG,
  limit: Flags.integer({ default: 6, min: 1, max: 100, summary: 'Show the first N images.', helpValue: 'N' }),
  transform: DECODE_FLAGS.transform,
  'image-size': DECODE_FLAGS['image-size'],
  device: RUN_FLAGS.device,
  precision: RUN_FLAGS.precision,
})

const {
  out,
  model,
  outputs,
  layers,
  'layers-norm': layersNorm,
  latents,
  seed,
  flip,
  format,
  dtype,
  transform,
} = ENCODE_FLAGS

/** Of `vtp plan`: those of `vtp encode` that the plan depends on. */
export const PLAN_FLAGS = declareFlags({
  out,
  model,
  outputs,
  layers,
  'layers-norm': layersNorm,
  latents,
  seed,
  flip,
  format,
  dtype,
  ...SOURCE_FLAGS,
  transform,
  'image-size': ENCODE_FLAGS['image-size'],
  'shard-rows': ENCODE_FLAGS['shard-rows'],
  device: ENCODE_FLAGS.device,
  precision: ENCODE_FLAGS.precision,
  'allow-private-urls': ENCODE_FLAGS['allow-private-urls'],
  overwrite: ENCODE_FLAGS.overwrite,
})
