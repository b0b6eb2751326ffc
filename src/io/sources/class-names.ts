/**
 * Labels that are names → indices into the sorted names, by code point, as the folders of ImageFolder are.
 * An index is known when the last name was seen: from the first name on, entries wait in a file
 * (external-sort.ts), so that memory holds the names and no more.
 */
import { usageError } from '../../errors.js'
import type { ListingEntry } from '../../types.js'
import { createExternalSorter, type ExternalSorter } from '../external-sort.js'
import type { ListingReport } from './listing-report.js'

/** An entry whose label may still be a name. */
export interface NamedEntry extends ListingEntry {
  className?: string
}

/** More different names are no classes. */
const MOST_CLASSES = 1_000_000

/** Yields the entries with their labels. `onClasses` is told the names, where labels were names, before that. */
export async function* indexClassNames(
  entries: AsyncIterable<NamedEntry>,
  report: ListingReport,
  onClasses: (names: string[]) => void,
): AsyncGenerator<ListingEntry> {
  const names = new Set<string>()
  let waiting: ExternalSorter | undefined
  const counts = { numbers: 0, names: 0 }
  let example = ''
  try {
    for await (const entry of entries) {
      const { className } = entry
      if (className !== undefined) {
        counts.names++
        example ||= `"${className}" of ${entry.key}`
        if (names.add(className).size > MOST_CLASSES) throw tooManyClasses(example)
        waiting ??= createExternalSorter()
      } else if (entry.label !== undefined) counts.numbers++
      if (waiting) await waiting.add(numberedRecord(waiting.count, entry))
      else yield entry
    }
    if (!waiting) return
    const mixed = counts.numbers > 0
    if (mixed && counts.names > counts.numbers) throw mixedLabels(example, counts)
    const classes = [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    const indices = new Map(classes.map((name, i) => [name, i]))
    if (!mixed) onClasses(classes)
    for await (const record of waiting.sorted()) {
      const { className, ...entry } = JSON.parse(record.toString('utf8', NUMBER_BYTES)) as NamedEntry
      if (className !== undefined) {
        if (mixed) report.note('label_mixed', `"${className}" of ${entry.key}`)
        else entry.label = indices.get(className)!
      }
      yield entry
    }
  } finally {
    await waiting?.close()
  }
}

const NUMBER_BYTES = 8

/** A record that sorts by its number. */
function numberedRecord(number: number, entry: NamedEntry): Buffer {
  const head = Buffer.alloc(NUMBER_BYTES)
  head.writeBigUInt64BE(BigInt(number))
  return Buffer.concat([head, Buffer.from(JSON.stringify(entry))])
}

function tooManyClasses(example: string): Error {
  return usageError('too_many_classes', `More than ${MOST_CLASSES} different labels are names, e.g. ${example}`, [
    'choose another field by --label-column, or leave the labels out',
  ])
}

function mixedLabels(example: string, counts: { numbers: number; names: number }): Error {
  return usageError(
    'mixed_labels',
    `Some labels are numbers (${counts.numbers}), others are names (${counts.names}, e.g. ${example})`,
    ['make them all numbers or all names', 'choose another field by --label-column'],
  )
}
