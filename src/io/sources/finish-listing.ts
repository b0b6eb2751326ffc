/** What every listing ends with: names of classes become labels, and no more entries than wanted are taken. */
import type { ListingEntry } from '../../types.js'
import { indexClassNames, type NamedEntry } from './class-names.js'
import type { ListingReport } from './listing-report.js'
import type { SourceOptions } from './options.js'

export function finishListing(
  entries: AsyncIterable<NamedEntry>,
  { limit }: SourceOptions,
  report: ListingReport,
  onClasses: (names: string[]) => void,
): AsyncGenerator<ListingEntry> {
  return limitEntries(indexClassNames(entries, report, onClasses), limit)
}

export async function* limitEntries<T>(entries: AsyncIterable<T>, limit: number | undefined): AsyncGenerator<T> {
  if (limit === 0) return
  let count = 0
  for await (const entry of entries) {
    yield entry
    if (++count === limit) return
  }
}
