/**
 * `vtp eval-head`: images through a model that was fine-tuned as a classifier, top-1 and top-5 of its own logits. This
 * is what "MAE 85.9" measures: the whole network was trained on the labels, so it is no linear probe.
 */
import { type Device, firstProvider, runsInFlight } from '../../engine/device.js'
import { openImageEncoder } from '../../engine/image-encoder.js'
import { usageError } from '../../errors.js'
import { parsePixelTransform } from '../../image/transform.js'
import type { ListingFacts } from '../../io/sources/listing-report.js'
import type { FieldNames } from '../../io/sources/options.js'
import { assertOutput, openModel, type Precision } from '../../model/index.js'
import { engineVersion } from '../../version.js'
import { evaluationIdentity, modelOverSet } from '../pass/identity.js'
import { storeListing } from '../pass/listing.js'
import { noneReadable } from '../pass/none-readable.js'
import { openPass } from '../pass/pass.js'
import { openPreparedSet } from '../pass/prepared-set.js'
import type { StateOptions } from '../pass/state.js'
import { type Tally, tallyRows } from '../zeroshot/tally.js'

export interface HeadRequest {
  source: string
  model: string
  cacheDir: string
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

export interface HeadResult extends Tally, ListingFacts {
  model: string
  modelDigest: string
  listingDigest: string
  source: string
  precision: Precision
  protocol: string
  interrupted: boolean
}

const TOP = 5

/** Throws usage errors `no_output` for a model without a head, `no_label`, `classes_mismatch`. */
export async function evaluateHead(request: HeadRequest): Promise<HeadResult> {
  const closers: (() => Promise<unknown>)[] = []
  try {
    const listing = await storeListing(request.source, { ...request, signal: request.stop })
    closers.push(() => listing.close())
    const model = await openModel(request.model, {
      cacheDir: request.cacheDir,
      onNote: request.onNote,
      signal: request.stop,
    })
    closers.push(() => model.close())
    assertOutput(model, 'logits')
    const set = await openPreparedSet(listing, {
      ...request,
      transform: parsePixelTransform(request.transform ?? model.transform('probe')).spec,
      threads: request.device.cores,
    })
    closers.push(() => set.close())
    const classes = model.outputs(set.transform).find(({ name }) => name === 'logits')!.shape[0]!
    if ((set.classes?.length ?? 0) > classes)
      throw usageError(
        'classes_mismatch',
        `${set.uri} has ${set.classes!.length} classes, ${model.name} knows ${classes}`,
      )
    for await (const { uri, label, at } of listing.entries(0)) {
      if (at.kind === 'bad' || (label !== undefined && label >= 0 && label < classes)) continue
      const what = label === undefined ? 'no label' : `the label ${label}; ${model.name} knows ${classes} classes`
      throw usageError('no_label', `${uri} has ${what}`, ['give a folder of class folders, or a list with labels'])
    }
    const encoder = await openImageEncoder(model, {
      device: request.device,
      precision: request.precision,
      size: set.transform,
      outputs: ['logits'],
      images: request.batchSize,
      onNote: request.onNote,
    })
    closers.push(() => encoder.close())
    const { stateDir: dir, cacheDir, checkpointSeconds, kept, onNote } = request
    const place = { dir, stamp: set.stamp }
    const identity = await evaluationIdentity('classification head', modelOverSet(model, set, request), place)
    const pass = await openPass<number[]>(identity, { dir, cacheDir, checkpointSeconds, kept, onNote })
    let complete = false
    closers.push(() => pass.close(complete))
    complete = await pass.run({
      set,
      inFlight: runsInFlight(request.device),
      measure: async ({ data, count }) =>
        (await encoder.encode(data as Uint8Array, count)).tensors.logits as Float32Array,
      async keep({ entries }, logits) {
        return entries.map(({ label }, i) => [label!, ...best(logits.subarray(i * classes, (i + 1) * classes))])
      },
      stop: request.stop,
      onImages: request.onImages,
    })
    const names = Array.from({ length: classes }, (_, i) => set.classes?.[i] ?? String(i))
    const tally = await tallyRows(pass.rows(), names)
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
        `the model's own head of ${classes} classes (fine-tuned end to end, no probe); the first of equal logits`,
        `${request.precision}, ${firstProvider(request.device)}, ${engineVersion()}`,
      ].join('; '),
      interrupted: !complete,
    }
  } finally {
    for (const close of closers.reverse()) await close().catch(() => {})
  }
}

/** Indices of the largest logits, largest first; of equal ones the lower. */
function best(logits: Float32Array): number[] {
  const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b)
  return order.slice(0, TOP)
}
