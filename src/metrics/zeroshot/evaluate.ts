/** `vtp eval-zeroshot`: CLIP image features against class embeddings; top-1, top-5, classes, confusions. */

import { type Device, firstProvider, runsInFlight } from '../../engine/device.js'
import { openImageEncoder } from '../../engine/image-encoder.js'
import { openTextEncoder, type TextEncoder } from '../../engine/text-encoder.js'
import { usageError } from '../../errors.js'
import { parsePixelTransform } from '../../image/transform.js'
import type { ListingFacts } from '../../io/sources/listing-report.js'
import type { FieldNames } from '../../io/sources/options.js'
import { assertOutput, type ImageModel, openModel, type Precision, textOf } from '../../model/index.js'
import { engineVersion } from '../../version.js'
import { evaluationIdentity, modelOverSet } from '../pass/identity.js'
import { type StoredListing, storeListing } from '../pass/listing.js'
import { noneReadable } from '../pass/none-readable.js'
import { openPass } from '../pass/pass.js'
import { openPreparedSet, type PreparedSet } from '../pass/prepared-set.js'
import type { StateOptions } from '../pass/state.js'
import { buildClassifier, type Classifier, rankClasses } from './classifier.js'
import { type Prompts, readPrompts } from './prompts.js'
import { type Tally, tallyRows } from './tally.js'

export interface ZeroshotRequest {
  source: string
  model: string
  cacheDir: string
  classnames?: string
  templates?: string
  transform?: string
  precision: Precision
  device: Device
  batchSize: number
  limit?: number
  /** Columns or fields of a source, where they do not have the usual names. */
  fields?: FieldNames
  maxPixels: number
  /** Folder for what a later run continues from; the cache otherwise. */
  stateDir?: string
  /** How often progress is made durable. */
  checkpointSeconds: number
  /** As in `StateOptions`. */
  kept?: StateOptions['kept']
  stdin?: AsyncIterable<Uint8Array>
  stop?: AbortSignal
  onNote?: (line: string) => void
  onImages?: (done: number, total: number, rejects: number) => void
}

export interface ZeroshotResult extends Tally, ListingFacts {
  model: string
  modelDigest: string
  listingDigest: string
  source: string
  precision: Precision
  protocol: string
  interrupted: boolean
}

const TOP = 5

export async function evaluateZeroshot(request: ZeroshotRequest): Promise<ZeroshotResult> {
  const closers: (() => Promise<unknown>)[] = []
  try {
    // A wrong file is told before the listing; names of folders are known after it.
    const promptsFor = await readPrompts(request.classnames, request.templates)
    const listing = await storeListing(request.source, { ...request, signal: request.stop })
    closers.push(() => listing.close())
    const model = await openModel(request.model, {
      cacheDir: request.cacheDir,
      onNote: request.onNote,
      signal: request.stop,
    })
    closers.push(() => model.close())
    textOf(model)
    assertOutput(model, 'clip')
    const set = await openPreparedSet(listing, {
      ...request,
      transform: parsePixelTransform(request.transform ?? model.transform('zeroshot')).spec,
      threads: request.device.cores,
    })
    closers.push(() => set.close())
    const prompts = promptsFor(set.classes)
    checkClasses(set, prompts)
    await checkLabels(listing, prompts.classnames.length)
    const classifier = await classify(model, prompts, request, closers)
    const encoder = await openImageEncoder(model, {
      device: request.device,
      precision: request.precision,
      size: set.transform,
      outputs: ['clip'],
      images: request.batchSize,
      onNote: request.onNote,
    })
    closers.push(() => encoder.close())
    const { stateDir: dir, cacheDir, checkpointSeconds, kept } = request
    const { classnames, templates } = prompts
    const identity = await evaluationIdentity(
      'zero-shot classification',
      { ...modelOverSet(model, set, request), classnames, templates },
      { dir, stamp: set.stamp },
    )
    const pass = await openPass<number[]>(identity, {
      dir,
      cacheDir,
      checkpointSeconds,
      kept,
      onNote: request.onNote,
    })
    let complete = false
    closers.push(() => pass.close(complete))
    const count = Math.min(TOP, classifier.classes)
    complete = await pass.run({
      set,
      inFlight: runsInFlight(request.device),
      measure: async (batch) =>
        (await encoder.encode(batch.data as Uint8Array, batch.count)).tensors.clip as Float32Array,
      async keep({ entries }, features) {
        const top = rankClasses(classifier, features, count)
        return entries.map(({ label }, i) => [label!, ...top.subarray(i * count, (i + 1) * count)])
      },
      stop: request.stop,
      onImages: request.onImages,
    })
    const interrupted = !complete
    const tally = await tallyRows(pass.rows(), prompts.classnames)
    if (complete && tally.images === 0) throw noneReadable(request.source, tally.rejects.length, tally.rejects[0])
    return {
      ...tally,
      ...set.facts,
      model: model.name,
      modelDigest: model.digest,
      listingDigest: set.digest,
      source: set.uri,
      precision: request.precision,
      protocol: [
        `${set.transform.spec}, N = ${tally.images}`,
        prompts.description,
        'text features normalised, averaged over templates, normalised',
        'cosine similarity, first of equal classes',
        `both towers ${request.precision}, ${firstProvider(request.device)}, ${engineVersion()}`,
      ].join('; '),
      interrupted,
    }
  } finally {
    for (const close of closers.reverse()) await close().catch(() => {})
  }
}

/** Folders of classes must be as many as the names: labels are their positions. */
function checkClasses(set: PreparedSet, { classnames }: Prompts): void {
  const count = set.classes?.length
  if (count === undefined || count === 0 || count === classnames.length) return
  throw usageError(
    'classes_mismatch',
    `${set.uri} has ${count} classes, but there are ${classnames.length} class names`,
    [
      `give the ${count} names in the order of the folders with --classnames FILE, one per line, or take the folders' names: --classnames folder`,
    ],
  )
}

async function classify(
  model: ImageModel,
  prompts: Prompts,
  request: ZeroshotRequest,
  closers: (() => Promise<unknown>)[],
): Promise<Classifier> {
  const open = async (): Promise<TextEncoder> => {
    const encoder = await openTextEncoder(model, {
      device: request.device,
      precision: request.precision,
      many: true,
    })
    closers.push(() => encoder.close())
    request.onNote?.(
      `Embedding ${prompts.classnames.length} classes × ${prompts.templates.length} templates (kept in the cache).`,
    )
    return encoder
  }
  return buildClassifier(open, prompts, {
    ...request,
    modelDigest: model.digest,
    provider: firstProvider(request.device),
  })
}

/** Before anything slow. Throws usage error `no_label` where an image has no label, or none of the classes. */
async function checkLabels(listing: StoredListing, classes: number): Promise<void> {
  for await (const { uri, label, at } of listing.entries(0)) {
    if (at.kind === 'bad' || (label !== undefined && label >= 0 && label < classes)) continue
    throw usageError(
      'no_label',
      `${uri} has ${label === undefined ? 'no label' : `the label ${label}, but there are ${classes} class names`}`,
      ['give a folder of class folders, a tar with .cls members, or a list with labels'],
    )
  }
}
