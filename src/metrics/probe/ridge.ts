/**
 * A quick look at what a model's outputs know of classes: ridge regression in closed form on the bottleneck latents, and
 * on CLS with the mean patch token, from one pass over each set. For tables of models, and for a training that is under
 * way.
 */
import { type Device, firstProvider } from '../../engine/device.js'
import { openImageEncoder } from '../../engine/image-encoder.js'
import { usageError } from '../../errors.js'
import { parsePixelTransform } from '../../image/transform.js'
import type { ListingFacts } from '../../io/sources/listing-report.js'
import { type ImageModel, openModel, type Precision } from '../../model/index.js'
import type { Reject } from '../../types.js'
import { engineVersion } from '../../version.js'
import { createFeatureFile, type TemporaryFeatureFile } from '../fid/feature-file.js'
import { openMatrixProducts } from '../linalg/matmul.js'
import { type StoredListing, storeListing } from '../pass/listing.js'
import { noneReadable } from '../pass/none-readable.js'
import { openPreparedSet } from '../pass/prepared-set.js'
import type { PassRequest } from '../pass/request.js'
import { type LabelledRows, ridgeProbe } from './closed-form.js'
import { type Classes, matchClasses } from './match-classes.js'

export interface RidgeRequest extends Omit<PassRequest, 'checkpointSeconds' | 'kept'> {
  /** Images with classes that the probes are fitted on. */
  train: string
  /** Images of the same classes that they are judged on. */
  source: string
  model: string
  /** Default: the model's for probes. */
  transform?: string
  device: Device
  precision: Precision
  cacheDir: string
}

type SetsRequest = Pick<RidgeRequest, 'train' | 'source' | 'limit' | 'fields' | 'stdin' | 'stop'>

export interface RidgeResult extends ListingFacts {
  model: string
  modelDigest: string
  /** Of `source`. */
  listingDigest: string
  /** Of `train`. */
  trainDigest: string
  source: string
  precision: Precision
  /** Top-1 in percent with the best strength; absent where the model lacks the output. */
  probeLatents?: number
  /** On CLS with the mean patch. */
  probeFeatures?: number
  /** Images judged, and images fitted on. */
  images: number
  train: number
  rejects: Reject[]
  protocol: string
  interrupted: boolean
}

type Kind = 'latents' | 'features'
interface Sets {
  rows: Partial<Record<Kind, LabelledRows>>
  images: number
  rejects: Reject[]
}
type Closers = (() => Promise<unknown>)[]

/** Latents above this many numbers are averaged over their grid: the regression is cubic in them. */
export const MOST_LATENTS = 2048

/**
 * Throws usage errors `no_label` where an image has no class, `classes_mismatch`, `stdin_twice`,
 * `no_features` for a model with neither latents nor CLS and patches, and `none_readable`.
 */
export async function evaluateRidge(request: RidgeRequest): Promise<RidgeResult> {
  const { cacheDir, device, precision, stop, onNote } = request
  const closers: Closers = []
  try {
    const { fitted, judged, inTrain } = await openSets(request, closers)
    const model = await openModel(request.model, { cacheDir, onNote, signal: stop })
    closers.push(() => model.close())
    const transform = parsePixelTransform(request.transform ?? model.transform('probe')).spec
    const train = await readFeatures(model, fitted, { ...request, transform }, closers)
    const val = await readFeatures(model, judged, { ...request, transform, classOf: inTrain }, closers)
    const interrupted = stop?.aborted ?? false
    const rejects = [...train.rejects, ...val.rejects]
    if (!interrupted)
      for (const [set, spec] of [[train, request.train] as const, [val, request.source] as const])
        if (set.images === 0) throw noneReadable(spec, set.rejects.length, set.rejects[0])
    const found = interrupted ? {} : await fitProbes(train, val, cacheDir, device, closers)
    const trainDigest = await fitted.keysDigest()
    return {
      ...judged.facts,
      model: model.name,
      modelDigest: model.digest,
      listingDigest: await judged.keysDigest(),
      trainDigest,
      source: judged.source.uri,
      precision,
      ...found,
      images: val.images,
      train: train.images,
      rejects,
      protocol: [
        `ridge probes: ${transform}, ${train.images} images to fit (listing ${trainDigest.slice(0, 8)}), ${val.images} to judge`,
        `on centred latents${widthOf(train, 'latents') === undefined ? '' : ` (${widthOf(train, 'latents')} numbers)`} and on CLS with the mean patch, best strength`,
        `encoder ${precision}, ${firstProvider(device)}, ${engineVersion()}`,
      ].join('; '),
      interrupted,
    }
  } finally {
    for (const close of closers.reverse()) await close().catch(() => {})
  }
}

const widthOf = ({ rows }: Sets, kind: Kind): number | undefined => rows[kind]?.layout.dim

interface OpenSets {
  fitted: StoredListing
  judged: StoredListing
  /** The label in `fitted` of a label in `judged`. */
  inTrain(label: number): number
  /** A label of `judged` of which `fitted` has no image. */
  unseen: number | undefined
}

/** Lists both sets and checks their labels, before anything slow. */
async function openSets(request: SetsRequest, closers: Closers): Promise<OpenSets> {
  if (request.train === '-' && request.source === '-')
    throw usageError('stdin_twice', 'SOURCE and --probe-train cannot both be the standard input', [
      'write one of the lists to a file',
    ])
  const open = async (spec: string): Promise<StoredListing> => {
    const listing = await storeListing(spec, { ...request, signal: request.stop })
    closers.push(() => listing.close())
    return listing
  }
  const fitted = await open(request.train)
  const judged = await open(request.source)
  const [known, asked] = [await classesOf(fitted), await classesOf(judged)]
  const inTrain = matchClasses([request.train, known], [request.source, asked])
  return { fitted, judged, inTrain, unseen: [...asked.labels].find((label) => !known.labels.has(inTrain(label))) }
}

/**
 * What `evaluateRidge` would refuse of the two sets, told before other work begins. It also refuses, as
 * `classes_mismatch`, a class of which only `source` has images, as where a limit cuts class folders off.
 */
export async function checkRidgeSets(request: SetsRequest): Promise<void> {
  const closers: Closers = []
  try {
    const { judged, unseen } = await openSets(request, closers)
    if (unseen === undefined) return
    const name = judged.source.classes?.[unseen] ?? `label ${unseen}`
    throw usageError(
      'classes_mismatch',
      `${request.train} has no image of the class ${name} among those that are taken`,
      [
        ...(request.limit === undefined
          ? []
          : ['--limit takes the first images of each listing: give smaller sets instead']),
        'give sets with the same classes',
      ],
    )
  } finally {
    for (const close of closers.reverse()) await close().catch(() => {})
  }
}

/** Throws usage error `no_label` where an image has no class. */
async function classesOf(listing: StoredListing): Promise<Classes & { labels: ReadonlySet<number> }> {
  const { classes: names } = listing.source
  const labels = new Set<number>()
  for await (const { uri, label, at } of listing.entries(0)) {
    if (at.kind !== 'bad' && label === undefined)
      throw usageError('no_label', `${uri} has no label`, ['give class folders, or a list with labels'])
    if (label !== undefined) labels.add(label)
  }
  const largest = [...labels].reduce((most, label) => Math.max(most, label), -1)
  return {
    classes: Math.max(names?.length ?? 0, largest + 1),
    names: names && names.length > 0 ? names : undefined,
    labels,
  }
}

async function fitProbes(
  train: Sets,
  val: Sets,
  cacheDir: string,
  { cores }: Device,
  closers: Closers,
): Promise<Pick<RidgeResult, 'probeLatents' | 'probeFeatures'>> {
  const products = await openMatrixProducts(cacheDir, cores)
  closers.push(() => products.close())
  const top1 = async (kind: Kind): Promise<number | undefined> => {
    const [from, on] = [train.rows[kind], val.rows[kind]]
    if (!from || !on) return undefined
    const classes = from.labels.reduce((most, label) => Math.max(most, label), 0) + 1
    return (await ridgeProbe(from, on, classes, products)).best
  }
  const [probeLatents, probeFeatures] = [await top1('latents'), await top1('features')]
  return {
    ...(probeLatents === undefined ? {} : { probeLatents }),
    ...(probeFeatures === undefined ? {} : { probeFeatures }),
  }
}

/** Ends early when stopped. */
async function readFeatures(
  model: ImageModel,
  listing: StoredListing,
  request: RidgeRequest & { transform: string; classOf?: (label: number) => number },
  closers: Closers,
): Promise<Sets> {
  const { device, precision, transform, batchSize, maxPixels, stop, onImages, classOf = (label) => label } = request
  const set = await openPreparedSet(listing, { transform, batchSize, threads: device.cores, maxPixels })
  closers.push(() => set.close())
  const size = set.transform
  const names = model.outputs(size).map(({ name }) => name)
  const outputs = (['latents', 'cls', 'patches'] as const).filter((name) => names.includes(name))
  const pooled = names.includes('cls') && names.includes('patches')
  if (!pooled && !names.includes('latents'))
    throw usageError('no_features', `${model.name} has neither latents nor cls and patches`, [
      'probe its features with `vtp eval-probe`',
    ])
  const encoder = await openImageEncoder(model, { device, precision, size, outputs, images: batchSize })
  closers.push(() => encoder.close())
  const labels: number[] = []
  const rejects: Reject[] = []
  const files: Partial<Record<Kind, TemporaryFeatureFile>> = {}
  const append = async (kind: Kind, rows: Float32Array, count: number): Promise<void> => {
    let file = files[kind]
    if (!file) {
      const made = await createFeatureFile(rows.length / count)
      file = files[kind] = made
      closers.push(() => made.close())
    }
    await file.append(rows)
  }
  for await (const { data, count, entries, rejects: bad, release } of set.batches(0)) {
    if (stop?.aborted) break
    rejects.push(...bad)
    if (count > 0) {
      const { tensors } = await encoder.encode(data as Uint8Array, count)
      const of = (name: string): Float32Array => tensors[name] as Float32Array
      if (names.includes('latents')) await append('latents', latentRows(of('latents'), count, encoder), count)
      if (pooled) await append('features', featureRows(of('cls'), of('patches'), count), count)
      labels.push(...entries.map(({ label }) => classOf(label!)))
    }
    release()
    onImages?.(labels.length + rejects.length, set.total, rejects.length)
  }
  const rows: Sets['rows'] = {}
  for (const [kind, file] of Object.entries(files) as [Kind, TemporaryFeatureFile][])
    rows[kind] = {
      file,
      labels: Int32Array.from(labels),
      layout: { dim: file.dims, blocks: 1, vector: 'pooled vector', patches: false },
    }
  return { rows, images: labels.length, rejects }
}

function latentRows(
  values: Float32Array,
  count: number,
  encoder: { shapes: ReadonlyMap<string, number[]> },
): Float32Array {
  const width = values.length / count
  if (width <= MOST_LATENTS) return values
  const [channels = 1] = encoder.shapes.get('latents')!
  const places = width / channels
  return Float32Array.from({ length: count * channels }, (_, i) => {
    const from = i * places
    return values.subarray(from, from + places).reduce((sum, value) => sum + value, 0) / places
  })
}

/** CLS [count, D] and the mean of the patch tokens [count, N, D], side by side. */
function featureRows(cls: Float32Array, patches: Float32Array, count: number): Float32Array {
  const dim = cls.length / count
  const tokens = patches.length / cls.length
  const out = new Float32Array(count * 2 * dim)
  for (let i = 0; i < count; i++) {
    out.set(cls.subarray(i * dim, (i + 1) * dim), i * 2 * dim)
    for (let t = 0; t < tokens; t++)
      for (let d = 0; d < dim; d++) out[i * 2 * dim + dim + d]! += patches[(i * tokens + t) * dim + d]! / tokens
  }
  return out
}
