/** From the lines of a classification to its numbers: accuracies, classes and the most frequent mistakes. */
import { countRejects, type RejectCounts } from '../../pipeline/ledger/rejects.js'
import type { Reject } from '../../types.js'

/** One line per image: its label, then the classes it was taken for, best first; or why there are none. */
export type ClassifiedRow = number[] | { reject: Reject }

export interface ClassAccuracy {
  label: number
  name: string
  images: number
  /** Percent. */
  top1: number
  top5: number
}

export interface Confusion {
  label: string
  takenFor: string
  images: number
}

export interface Tally {
  /** Percent of the images. */
  top1: number
  top5: number
  images: number
  rejects: Reject[]
  rejectsByCode: RejectCounts
  classes: ClassAccuracy[]
  /** The most frequent mistakes. */
  confusions: Confusion[]
}

const CONFUSIONS = 30

const percent = (part: number, whole: number): number => (whole === 0 ? 0 : (100 * part) / whole)

export async function tallyRows(rows: AsyncIterable<ClassifiedRow>, names: string[]): Promise<Tally> {
  const counts = names.map(() => ({ images: 0, top1: 0, top5: 0 }))
  const all = { images: 0, top1: 0, top5: 0 }
  const mistakes = new Map<number, number>()
  const rejects: Reject[] = []
  for await (const row of rows) {
    if (!Array.isArray(row)) {
      rejects.push(row.reject)
      continue
    }
    const [label, ...top] = row as [number, ...number[]]
    for (const count of [counts[label]!, all]) {
      count.images++
      if (top[0] === label) count.top1++
      if (top.includes(label)) count.top5++
    }
    const pair = label * names.length + top[0]!
    if (top[0] !== label) mistakes.set(pair, (mistakes.get(pair) ?? 0) + 1)
  }
  const classes: ClassAccuracy[] = []
  for (const [label, { images, top1, top5 }] of counts.entries()) {
    if (images === 0) continue
    classes.push({ label, name: names[label]!, images, top1: percent(top1, images), top5: percent(top5, images) })
  }
  const confusions = [...mistakes]
    .sort((a, b) => b[1] - a[1] || a[0] - b[0])
    .slice(0, CONFUSIONS)
    .map(([pair, images]) => ({
      label: names[Math.floor(pair / names.length)]!,
      takenFor: names[pair % names.length]!,
      images,
    }))
  const { images } = all
  const accuracies = { top1: percent(all.top1, images), top5: percent(all.top5, images) }
  return { ...accuracies, images, rejects, rejectsByCode: countRejects(rejects), classes, confusions }
}
