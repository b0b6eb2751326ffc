/** At most so many entries of a source, from the start. */
import type { Source } from '../../types.js'
import { limitEntries } from './finish-listing.js'
import type { SourceOptions } from './options.js'

export function limitSource(source: Source, { limit }: SourceOptions): Source {
  if (limit === undefined) return source
  // A copy would freeze what getters tell.
  return Object.create(source, {
    list: {
      value: (...args: Parameters<Source['list']>) => limitEntries(source.list(...args), limit),
    },
  }) as Source
}
