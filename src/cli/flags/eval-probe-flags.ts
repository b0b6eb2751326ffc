/** Flags of `vtp eval-probe`. */
import path from 'node:path'
import { Flags } from '@oclif/core'
import { usageError } from '../../errors.js'
import { declareFlags, valueFlag } from './declare.js'
import { EVAL_FLAGS } from './eval-flags.js'
import { parseCount } from './parse.js'
import { MODEL_FLAG, RUN_FLAGS } from './run-flags.js'

const { weights: _, ...FLAGS } = EVAL_FLAGS

/** "1,4" → [1, 4]. */
function parseNumbers(flag: string, text: string): number[] {
  const numbers = text.split(',').map((part) => Number(part.trim() || Number.NaN))
  if (numbers.length === 0 || !numbers.every((number) => number > 0 && Number.isFinite(number)))
    throw usageError('bad_numbers', `${flag} ${text} is not a list of positive numbers`, ['write e.g. 1,4'])
  if (flag === '--blocks' && !numbers.every(Number.isInteger))
    throw usageError('bad_numbers', `${flag} ${text}: blocks are whole numbers`, ['write e.g. 1,4'])
  return [...new Set(numbers)]
}

/** "true,false" → [true, false]. */
function parseBooleans(flag: string, text: string): boolean[] {
  const parts = text.split(',').map((part) => part.trim().toLowerCase())
  if (!parts.every((part) => part === 'true' || part === 'false'))
    throw usageError('bad_booleans', `${flag} ${text} is not true, false or both`, ['write true, false, or true,false'])
  return [...new Set(parts.map((part) => part === 'true'))]
}

/** Which sets, and of which kind. */
export function probeSets(flags: { train?: string; val?: string; features?: string }): {
  train: string
  val: string
  stored: boolean
} {
  if (flags.features !== undefined)
    return { train: path.join(flags.features, 'train'), val: path.join(flags.features, 'val'), stored: true }
  if (flags.train === undefined || flags.val === undefined)
    throw usageError('sets_missing', 'A probe needs --train and --val, or --features', [
      'e.g. --train imagenet/train --val imagenet/val',
    ])
  return { train: flags.train, val: flags.val, stored: false }
}

/** Of `vtp eval-probe`. */
export const EVAL_PROBE_FLAGS = declareFlags({
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
  blocks: valueFlag(parseNumbers, {
    summary: 'Numbers of last blocks whose CLS tokens a head reads. Default: 1,4, as far as the model has them.',
    helpValue: 'LIST',
  }),
  avgpool: valueFlag(parseBooleans, {
    summary:
      'Whether heads also read the mean of the patch tokens: true, false, or both as "true,false". Default: true where there are patches.',
    helpValue: 'LIST',
  }),
  'learning-rates': valueFlag(parseNumbers, {
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
  'batch-size': valueFlag(parseCount, {
    default: '128',
    summary: 'Images per step: part of the protocol, which scales the learning rates by it.',
    helpValue: 'N',
  }),
})
