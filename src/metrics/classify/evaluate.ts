/**
 * Images with labels through a model that ranks classes: top-1, top-5, every class, the most frequent mistakes. What
 * ranks them is brought along: class embeddings (zeroshot/evaluate.ts), the head of a fine-tuned model
 * (head/evaluate.ts).
 */
import { type Device, firstProvider, runsInFlight } from '../../engine/device.js'
import { openImageEncoder } from '../../engine/image-encoder.js'
import { usageError } from '../../errors.js'
import { parsePixelTransform } from '../../image/transform.js'
import type { ListingFacts } from '../../io/sources/listing-report.js'
import { assertOutput, type ImageModel, openModel, type Precision } from '../../model/index.js'
import { engineVersion } from '../../version.js'
import { evaluationIdentity, modelOverSet } from '../pass/identity.js'
import { type StoredListing, storeListing } from '../pass/listing.js'
import { noneReadable } from '../pass/none-readable.js'
import { openPass } from '../pass/pass.js'
import { openPreparedSet, type PreparedSet } from '../pass/prepared-set.js'
import type { PassRequest } from '../pass/request.js'
import { type Tally, tallyRows } from './tally.js'

export interface ClassifyRequest extends PassRequest {
  source: string
  model: string
  cacheDir: string
  transform?: string
  precision: Precision
  device: Device
  /** Folder for what a later run continues from; the cache otherwise. */
  stateDir?: string
}

export interface ClassifyResult extends Tally, ListingFacts {
  model: string
  modelDigest: string
  listingDigest: string
  source: string
  precision: Precision
  protocol: string
  interrupted: boolean
}

/** Labels of the best classes of each of `count` images, best first, from the rows of an output of the model. */
export type Rank = (values: Float32Array, count: number) => ArrayLike<number>[]

export interface Ranking {
  /** Of the classes, by label. */
  names: string[]
  /** What the ranks depend on besides model, images and precision. */
  decides: Record<string, unknown>
  /** Makes what ranks, which may be slow. */
  ready(): Promise<Rank> | Rank
  /** For the protocol. */
  description: string[]
  /** Says what is wrong with a label that is none of the classes. */
  wrongLabel(label: number): string
}

export interface RankingKind {
  /** For the identity of unfinished work. */
  what: string
  output: 'clip' | 'logits'
  /** The model's default transform is that of this evaluation. */
  job: Parameters<ImageModel['transform']>[0]
  /** What `precision` is that of. */
  arithmetic: string
  /** Throws usage errors for a model without what is needed; called before anything slow. */
  check?(model: ImageModel): void
  /** Called when the labels' names are known. Throws usage errors for classes that do not fit. */
  open(model: ImageModel, set: PreparedSet): Promise<Ranking> | Ranking
  /** Labels that a source has to bring, for people. */
  needs: string
}

/** Classes that are kept of an image's ranks. */
export const TOP = 5

/** Throws usage errors for a model without the output, and `no_label` for images without a label of the classes. */
export async function evaluateClassifier(request: ClassifyRequest, kind: RankingKind): Promise<ClassifyResult> {
  const closers: (() => Promise<unknown>)[] = []
  const { cacheDir, precision, device, checkpointSeconds, kept, onNote, stop, stateDir: dir } = request
  try {
    const listing = await storeListing(request.source, { ...request, signal: stop })
    closers.push(() => listing.close())
    const model = await openModel(request.model, { cacheDir, onNote, signal: stop })
    closers.push(() => model.close())
    kind.check?.(model)
    assertOutput(model, kind.output)
    const transform = parsePixelTransform(request.transform ?? model.transform(kind.job)).spec
    const set = await openPreparedSet(listing, { ...request, transform, threads: device.cores })
    closers.push(() => set.close())
    const ranking = await kind.open(model, set)
    await checkLabels(listing, ranking, kind.needs)
    const rank = await ranking.ready()
    const encoder = await openImageEncoder(model, {
      device,
      precision,
      size: set.transform,
      outputs: [kind.output],
      images: request.batchSize,
      onNote,
    })
    closers.push(() => encoder.close())
    const decides = { ...modelOverSet(model, set, request), ...ranking.decides }
    const identity = await evaluationIdentity(kind.what, decides, { dir, stamp: set.stamp })
    const pass = await openPass<number[]>(identity, { dir, cacheDir, checkpointSeconds, kept, onNote })
    let complete = false
    closers.push(() => pass.close(complete))
    complete = await pass.run({
      set,
      inFlight: runsInFlight(device),
      measure: async ({ data, count }) =>
        (await encoder.encode(data as Uint8Array, count)).tensors[kind.output] as Float32Array,
      async keep({ entries }, values) {
        const ranks = rank(values, entries.length)
        return entries.map(({ label }, i) => [label!, ...Array.from(ranks[i]!)])
      },
      stop,
      onImages: request.onImages,
    })
    const tally = await tallyRows(pass.rows(), ranking.names)
    if (complete && tally.images === 0) throw noneReadable(request.source, tally.rejects.length, tally.rejects[0])
    return {
      ...tally,
      ...set.facts,
      model: model.name,
      modelDigest: model.digest,
      listingDigest: set.digest,
      source: set.uri,
      precision,
      protocol: [
        `${set.transform.spec}, N = ${tally.images}`,
        ...ranking.description,
        `${kind.arithmetic}${precision}, ${firstProvider(device)}, ${engineVersion()}`,
      ].join('; '),
      interrupted: !complete,
    }
  } finally {
    for (const close of closers.reverse()) await close().catch(() => {})
  }
}

/** Before anything slow. */
async function checkLabels(listing: StoredListing, { names, wrongLabel }: Ranking, needs: string): Promise<void> {
  for await (const { uri, label, at } of listing.entries(0)) {
    if (at.kind === 'bad' || (label !== undefined && label >= 0 && label < names.length)) continue
    throw usageError('no_label', `${uri} has ${label === undefined ? 'no label' : wrongLabel(label)}`, [needs])
  }
}
