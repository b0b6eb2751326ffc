/** Flags of the commands on models. */
import { Flags } from '@oclif/core'
import { declareFlags, valueFlag } from './declare.js'
import { parseImageSize, parseLayers, parseNames } from './parse.js'
import { RUN_FLAGS } from './run-flags.js'
import { COLUMN_FLAGS } from './source-flags.js'

const TOWERS = ['encoder', 'decoder', 'text'] as const
const OUTPUTS = ['latents', 'clip', 'cls', 'patches', 'codes', 'logits'] as const

/** Of `vtp model check`. */
export const MODEL_CHECK_FLAGS = declareFlags({
  limit: Flags.integer({ default: 16, min: 1, summary: 'Use the first N images.', helpValue: 'N' }),
  ...COLUMN_FLAGS,
  'batch-size': RUN_FLAGS['batch-size'],
  device: RUN_FLAGS.device,
})

/** Of `vtp model export`. */
export const MODEL_EXPORT_FLAGS = declareFlags({
  out: Flags.string({ char: 'o', required: true, summary: 'Folder to write the graphs to.', helpValue: 'DIR' }),
  towers: valueFlag((flag, text) => parseNames(flag, text, TOWERS, 'tower'), {
    summary: 'Which graphs: a list of encoder, decoder, text. Default: all that the model has.',
    helpValue: 'LIST',
  }),
  outputs: valueFlag((flag, text) => parseNames(flag, text, OUTPUTS, 'output'), {
    summary:
      'Outputs of the encoder: a list of latents, clip, cls, patches, codes, logits. Default: all that the model has.',
    helpValue: 'LIST',
  }),
  layers: valueFlag(parseLayers, {
    summary: 'Blocks whose cls and patches are outputs too: a number n for the last n, or a list of 0-based indices.',
    helpValue: 'N|LIST',
  }),
  'image-size': valueFlag(parseImageSize, {
    summary: "Size of the encoder's input: S or HxW. Default: the checkpoint's.",
    helpValue: 'S|HxW',
  }),
  dtype: Flags.option({
    default: 'float32',
    options: ['float16', 'float32'] as const,
    summary: "Element type of the encoder's outputs.",
  })(),
})
