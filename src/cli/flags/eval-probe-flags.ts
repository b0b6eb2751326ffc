/** Values of `vtp eval-probe`'s flags. */
import path from 'node:path'
import { usageError } from '../../errors.js'
import { LEARNING_RATES } from '../../metrics/probe/heads.js'

/** "1,4" → [1, 4]; undefined → the script's learning rates. */
export function parseNumbers(flag: string, text: string | undefined): number[] {
  if (text === undefined) return LEARNING_RATES
  const numbers = text.split(',').map((part) => Number(part.trim() || Number.NaN))
  if (numbers.length === 0 || !numbers.every((number) => number > 0 && Number.isFinite(number)))
    throw usageError('bad_numbers', `${flag} ${text} is no list of positive numbers`, ['write e.g. 1,4'])
  if (flag === '--blocks' && !numbers.every(Number.isInteger))
    throw usageError('bad_numbers', `${flag} ${text}: blocks are whole numbers`, ['write e.g. 1,4'])
  return [...new Set(numbers)]
}

/** "true,false" → [true, false]. */
export function parseBooleans(flag: string, text: string): boolean[] {
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
