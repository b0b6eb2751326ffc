/** One image, or several by a pattern, as a source: keys are what their paths differ in. */
import path from 'node:path'
import type { ListingEntry, Source } from '../../types.js'
import { absolutePath, commonFolder } from './common-folder.js'
import { limitEntries } from './finish-listing.js'
import type { SourceOptions } from './options.js'
import { readLocation } from './read-file.js'

export function openImages(specs: string[], options: SourceOptions): Source {
  const files = specs.map(absolutePath)
  async function* entries(): AsyncGenerator<ListingEntry> {
    const base = commonFolder(files)
    for (const file of files) yield { key: path.relative(base, file), uri: file, at: { kind: 'file', path: file } }
  }
  return {
    kind: 'list',
    uri: files.length === 1 ? files[0]! : `${files[0]} … ${files.at(-1)} (${files.length} images)`,
    passedOver: { count: 0, examples: [] },
    notes: [],
    list: () => limitEntries(entries(), options.limit),
    read: (entry, signal) => readLocation(entry, { ...options, signal }),
    close: async () => {},
  }
}
