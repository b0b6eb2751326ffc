/** Where a probe's batches come from: augmented images through the model, or features that are stored. */
import { createHash } from 'node:crypto'
import { usageError } from '../../errors.js'
import { joinFacts, type ListingFacts } from '../../io/sources/listing-report.js'
import { openModel } from '../../model/index.js'
import { mergeCounts, type RejectCounts } from '../../pipeline/ledger/rejects.js'
import { createFeatureFile } from '../fid/feature-file.js'
import { SCRIPT_BLOCKS } from './heads.js'
import { openImageFeatures } from './image-features.js'
import { type FeatureBatch, type FeatureLayout, rowWidth } from './layout.js'
import { type ListingIndex, openListingIndex } from './listing-index.js'
import { matchClasses, otherClasses } from './match-classes.js'
import type { ProbeRequest } from './request.js'
import { createSampler } from './sampler.js'
import { openStoredFeatures, type StoredFeatures } from './stored-features.js'

/** Where batches come from, whatever the kind of features. */
export interface ProbeData {
  layout: FeatureLayout
  classes: number
  trainCount: number
  valCount: number
  model: string | null
  /** What the numbers depend on, but the files themselves. */
  decides: Record<string, unknown>
  /** How images became pixels, for the protocol. */
  views: string
  /** Changes with the files themselves. */
  stamp: string
  train(epoch: number, step: number): Promise<FeatureBatch>
  val(): AsyncGenerator<FeatureBatch>
  /** What the listings of the images have passed over or lost. */
  facts: ListingFacts
  stored?: { train: StoredFeatures; val: StoredFeatures }
}

/** Last blocks that any head reads. */
const mostBlocks = ({ blocks }: ProbeRequest): number => Math.max(...(blocks ?? SCRIPT_BLOCKS))

/** What to close at the end, in order. */
export type Closers = (() => Promise<unknown>)[]

/** Images through the model at every step. Throws usage error `classes_mismatch`. */
export async function openImageData(request: ProbeRequest, closers: Closers): Promise<ProbeData> {
  if (request.train === '-' && request.val === '-')
    throw usageError('stdin_twice', '--train and --val cannot both be the standard input', [
      'write one of the lists to a file',
    ])
  const model = await openModel(request.model, {
    cacheDir: request.cacheDir,
    onNote: request.onNote,
    signal: request.stop,
  })
  closers.push(() => model.close())
  const list = async (spec: string): Promise<ListingIndex> => {
    const listing = await openListingIndex(spec, {
      limit: request.limit,
      stdin: request.stdin,
      fields: request.fields,
      onNote: request.onNote,
      signal: request.stop,
    })
    closers.push(() => listing.close())
    return listing
  }
  const [train, val] = [await list(request.train), await list(request.val)]
  const inTrain = matchClasses([request.train, train], [request.val, val])
  const features = await openImageFeatures(model, { ...request, blocks: mostBlocks(request) })
  closers.push(() => features.close())
  const sampler = createSampler(train.count, request.batchSize, request.seed)
  const stored = await createFeatureFile(rowWidth(features.layout))
  closers.push(() => stored.close())
  const labels: number[] = []
  const pending: number[] = []
  const rejects: RejectCounts = {}
  return {
    layout: features.layout,
    classes: train.classes,
    trainCount: train.count,
    valCount: val.count,
    model: model.name,
    decides: {
      model: model.digest,
      train: train.digest,
      val: val.digest,
      precision: request.precision,
      maxPixels: request.maxPixels,
    },
    views: `RandomResizedCrop(${features.size}, bicubic) + flip; evaluation ${features.evaluation}`,
    stamp: `${train.stamp} ${val.stamp}`,
    facts: joinFacts([train.source, val.source]),
    train: (epoch, step) => features.batch(train, sampler.rows(epoch, step), sampler.draws(epoch, step)),
    async *val() {
      for (let at = 0; at < val.count && labels.length === 0; at += request.batchSize) {
        if (at === 0) request.onNote?.(`Features of ${val.count} validation images, once.`)
        const indices = Array.from({ length: Math.min(request.batchSize, val.count - at) }, (_, i) => at + i)
        const batch = await features.batch(val, indices)
        mergeCounts(rejects, batch.rejects)
        await stored.append(batch.rows)
        for (const label of batch.labels) pending.push(inTrain(label))
        if (request.stop?.aborted) return
      }
      if (labels.length === 0) labels.push(...pending)
      yield* storedBatches(stored, Int32Array.from(labels), request.batchSize * 2, rejects)
    },
  }
}

async function* storedBatches(
  file: StoredFeatures['file'],
  labels: Int32Array,
  size: number,
  rejects: RejectCounts = {},
): AsyncGenerator<FeatureBatch> {
  for (let at = 0; at < labels.length; at += size) {
    const count = Math.min(size, labels.length - at)
    yield {
      rows: await file.block(at, count),
      labels: labels.subarray(at, at + count),
      rejects: at === 0 ? rejects : {},
    }
  }
}

/** Features that `vtp encode` wrote. Throws usage error `features_mismatch`. */
export async function openStoredData(request: ProbeRequest, closers: Closers): Promise<ProbeData> {
  const open = async (folder: string): Promise<StoredFeatures> => {
    const set = await openStoredFeatures(folder, mostBlocks(request), request.limit)
    closers.push(() => set.close())
    return set
  }
  const [train, val] = [await open(request.train), await open(request.val)]
  if (train.modelDigest !== val.modelDigest || rowWidth(train.layout) !== rowWidth(val.layout)) {
    throw usageError(
      'features_mismatch',
      `${request.train} and ${request.val} hold features of different models or layers`,
      ['encode both with the same --model, --outputs and --layers'],
    )
  }
  const sampler = createSampler(train.labels.length, request.batchSize, request.seed)
  const classes = train.labels.reduce((max, label) => Math.max(max, label), 0) + 1
  const strange = val.labels.find((label) => label < 0 || label >= classes)
  if (strange !== undefined)
    throw otherClasses(
      `${request.val} has the label ${strange}, but ${request.train} has labels from 0 to ${classes - 1}`,
    )
  const digestOf = ({ labels }: StoredFeatures): string => createHash('sha256').update(labels).digest('hex')
  return {
    layout: train.layout,
    classes,
    trainCount: train.labels.length,
    valCount: val.labels.length,
    model: train.modelName ?? null,
    decides: { model: train.modelDigest, train: digestOf(train), val: digestOf(val) },
    views: `stored features without augmentation (train ${train.made}; validation ${val.made})`,
    stamp: `${train.stamp} ${val.stamp}`,
    facts: joinFacts([]),
    async train(epoch, step) {
      const rows = sampler.rows(epoch, step)
      const { data } = await train.file.rows(rows)
      return { rows: Float32Array.from(data), labels: Int32Array.from(rows, (row) => train.labels[row]!), rejects: {} }
    },
    val: () => storedBatches(val.file, val.labels, request.batchSize * 2),
    stored: { train, val },
  }
}
