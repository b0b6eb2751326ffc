/** The class of every sample: balanced over the chosen classes, or random as the reference draws them. */
import { createHash } from 'node:crypto'
import { usageError } from '../errors.js'
import { sampleChoice } from './noise.js'

/** `balanced`: sample i gets the (i mod n)-th class, so that every prefix is balanced; `random`: uniform. */
export const LABEL_MODES = ['balanced', 'random'] as const
export type LabelMode = (typeof LABEL_MODES)[number]

/** The classes of the reference's demonstration sheet (inference.py, --demo), for models of 1,000 classes. */
export const DEMO_CLASSES = [975, 3, 207, 387, 388, 88, 979, 279]

/** "207,360" or "0-9,20" → class numbers; "all" stays "all", which is not the same as nothing given. Throws usage error `bad_classes`. */
export function parseClasses(text: string | undefined): number[] | 'all' | undefined {
  if (text === undefined || text === 'all') return text
  const out: number[] = []
  for (const part of text.split(',')) {
    const match = /^\s*(\d+)(?:-(\d+))?\s*$/.exec(part)
    const first = Number(match?.[1])
    const last = Number(match?.[2] ?? match?.[1])
    if (!match || last < first || last - first > 100_000) {
      throw usageError('bad_classes', `--classes ${text}: "${part}" is not a class or a range of classes`, [
        'write numbers from 0, e.g. 207,360 or 0-9, or all',
      ])
    }
    for (let label = first; label <= last; label++) out.push(label)
  }
  return out
}

/** Throws usage error `class_out_of_range`. */
export function checkClasses(labels: readonly number[], numClasses: number, from: string): void {
  const bad = labels.find((label) => !Number.isInteger(label) || label < 0 || label >= numClasses)
  if (bad === undefined) return
  throw usageError('class_out_of_range', `${from}: there is no class ${bad}; the model knows 0 to ${numClasses - 1}`, [
    `choose classes from 0 to ${numClasses - 1}, or all`,
  ])
}

export interface LabelRequest {
  num: number
  numClasses: number
  classes?: readonly number[]
  mode: LabelMode
  seed: number
}

/** One class per sample. */
export function assignLabels({ num, numClasses, classes, mode, seed }: LabelRequest): Int32Array {
  const count = classes?.length ?? numClasses
  return Int32Array.from({ length: num }, (_, i) => {
    const at = mode === 'balanced' ? i % count : sampleChoice(seed, i, count)
    return classes ? classes[at]! : at
  })
}

export function labelsDigest(labels: Int32Array): string {
  return createHash('sha256')
    .update(new Uint8Array(labels.buffer, labels.byteOffset, labels.byteLength))
    .digest('hex')
}
