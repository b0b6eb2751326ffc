/**
 * A set whose images keep their own size, or become what a metric's network takes: consecutive images of one size
 * share a batch.
 */
import { mapOrdered } from '../../async/stages.js'
import { openPixelPool } from '../../image/pool/pool.js'
import type { Picture, View } from '../../image/pool/views.js'
import { readEntryPixels } from '../../pipeline/stream/entry-pixels.js'
import type { ListingEntry, Reject } from '../../types.js'
import { IMAGE_TIMEOUT_MS, type ImageBatch, type ImageSet, type ImageSetOptions } from './image-set.js'
import type { StoredListing } from './listing.js'

/** Images read ahead of the batch, at least. */
const AHEAD = 8

type ReadImage = { entry: ListingEntry } & ({ picture: Picture } | { reject: Reject })

/** The images of a listing, which stays the caller's to close. */
export function openOwnSizeSet(
  { source, total, entries: entriesFrom }: StoredListing,
  { view, batchSize, threads, maxPixels }: ImageSetOptions & { view: View },
): ImageSet {
  const pool = openPixelPool(threads)
  const options = { views: [view], limits: { maxPixels, timeoutMs: IMAGE_TIMEOUT_MS } }
  const read = (from: number): AsyncGenerator<ReadImage> =>
    mapOrdered(entriesFrom(from), Math.max(AHEAD, 2 * pool.capacity), async (entry) => {
      const result = await readEntryPixels(source, pool, entry, options)
      return 'reject' in result ? { entry, reject: result.reject } : { entry, picture: result.pictures[0]! }
    })
  return {
    uri: source.uri,
    total,
    batches: (from) => joinBySize(read(from), from, batchSize),
    close: () => pool.close(),
  }
}

/** Rejects go with the images before them. */
async function* joinBySize(
  images: AsyncIterable<ReadImage>,
  from: number,
  batchSize: number,
): AsyncGenerator<ImageBatch> {
  let held: { entry: ListingEntry; picture: Picture }[] = []
  let rejects: Reject[] = []
  let done = from
  const take = (): ImageBatch => {
    const pictures = held.map(({ picture }) => picture)
    const batch = { ...join(pictures), entries: held.map(({ entry }) => entry), rejects, done, release: () => {} }
    held = []
    rejects = []
    return batch
  }
  for await (const image of images) {
    if ('picture' in image) {
      const { width, height } = image.picture
      const first = held[0]?.picture
      if (first && (first.width !== width || first.height !== height || held.length === batchSize)) yield take()
      held.push(image)
    } else {
      rejects.push(image.reject)
    }
    done++
  }
  if (held.length > 0 || rejects.length > 0) yield take()
}

function join(pictures: Picture[]): Pick<ImageBatch, 'data' | 'count' | 'height' | 'width'> {
  const { width, height, data: first = new Uint8Array() } = pictures[0] ?? { width: 0, height: 0 }
  const elements = pictures.length * first.length
  const data = first instanceof Float32Array ? new Float32Array(elements) : new Uint8Array(elements)
  for (const [i, picture] of pictures.entries()) data.set(picture.data, i * first.length)
  return { data, count: pictures.length, height, width }
}
