/** Flags of `vtp pretrain`. */
import { Flags } from '@oclif/core'
import { declareFlags } from './declare.js'

export const PRETRAIN_FLAGS = declareFlags({
  replay: Flags.string({
    required: true,
    summary: 'The batches: views, tokens, masks and kept rows of every step.',
    description:
      'A safetensors file with `stepI.clip_u8`, `global_u8`, `local_u8`, `rec_u8` (uint8, N × H × W × 3), `tokens`, `masks`, `mask_indices`, `masks_weight`, and with stochastic depth `keep.BRANCH.blockB.attn` and `.ffn` (`.global` and `.local` for ssl). Crops are crop-major.',
    helpValue: 'FILE.safetensors',
  }),
  init: Flags.string({
    required: true,
    summary: 'Folder to begin with: config.json, model.safetensors and training.safetensors (head and teacher).',
    helpValue: 'DIR',
  }),
  recipe: Flags.string({
    required: true,
    summary: 'JSON with `config` and `hyper_parameters`: loss weights, optimiser, schedules.',
    helpValue: 'FILE.json',
  }),
  steps: Flags.integer({ required: true, min: 1, summary: 'Optimiser steps.', helpValue: 'N' }),
  out: Flags.string({ required: true, summary: 'Folder for checkpoints/ and log.jsonl.', helpValue: 'DEST' }),
  export: Flags.string({
    options: ['student', 'teacher'],
    default: 'student',
    summary: 'Whose trunk and projection model.safetensors gets.',
  }),
  weights: Flags.string({
    summary: 'Folder with the weights of VGG16 and LPIPS, where the recipe gives LPIPS a weight.',
    helpValue: 'DIR',
  }),
  threads: Flags.integer({ min: 1, summary: "The engine's threads. Default: all cores.", helpValue: 'N' }),
})
