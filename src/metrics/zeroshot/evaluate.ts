/** `vtp eval-zeroshot`: CLIP image features against class embeddings; top-1, top-5, classes, confusions. */
import { openSession } from '../../engine/session.js'
import { openTextEncoder, type TextEncoder } from '../../engine/text-encoder.js'
import { usageError } from '../../errors.js'
import { compileEncoder, type EncoderSpec, type Model, openModel, type Precision } from '../../model/index.js'
import { mapOrdered } from '../../pipeline/stages.js'
import type { Reject } from '../../types.js'
import { engineVersion } from '../../version.js'
import { openPreparedSet, type PreparedSet } from '../sets/prepared-set.js'
import { buildClassifier, type Classifier, rankClasses } from './classifier.js'
import { type Prompts, readPrompts } from './prompts.js'

export interface ZeroshotRequest {
  source: string
  model: string
  cacheDir: string
  classnames?: string
  templates?: string
  transform?: string
  precision: Precision
  device: string
  providers: string[]
  threads: number
  batchSize: number
  limit?: number
  maxPixels: number
  stdin?: AsyncIterable<Uint8Array>
  stop?: AbortSignal
  onNote?: (line: string) => void
  onImages?: (done: number, total: number, rejects: number) => void
}

export interface ClassAccuracy {
  label: number
  name: string
  images: number
  /** Percent. */
  top1: number
  top5: number
}

export interface Confusion {
  label: string
  takenFor: string
  images: number
}

export interface ZeroshotResult {
  /** Percent of the images. */
  top1: number
  top5: number
  images: number
  rejects: Reject[]
  classes: ClassAccuracy[]
  /** The most frequent mistakes. */
  confusions: Confusion[]
  model: string
  modelDigest: string
  listingDigest: string
  source: string
  protocol: string
  interrupted: boolean
}

const TOP = 5
const CONFUSIONS = 30

export async function evaluateZeroshot(request: ZeroshotRequest): Promise<ZeroshotResult> {
  const closers: (() => Promise<unknown>)[] = []
  try {
    const prompts = await readPrompts(request.classnames, request.templates)
    const model = await openModel(request.model, {
      cacheDir: request.cacheDir,
      onNote: request.onNote,
      signal: request.stop,
    })
    closers.push(() => model.close())
    if (!model.config.train_clip)
      throw usageError('no_text_tower', `The model ${model.name} has no text tower (train_clip is false)`)
    const size = model.config.image_size
    const set = await openPreparedSet(request.source, {
      ...request,
      transform: request.transform ?? `resize(${size},${size},bilinear)`,
      signal: request.stop,
    })
    closers.push(() => set.close())
    checkClasses(set, prompts)
    const classifier = await classify(model, prompts, request, closers)
    const tally = createTally(prompts.classnames)
    const interrupted = await passOver(request, model, set, classifier, tally, closers)
    return {
      ...tally.finish(),
      model: model.name,
      modelDigest: model.digest,
      listingDigest: set.digest,
      source: set.uri,
      protocol: [
        `${set.transform.spec}, N = ${tally.images}`,
        prompts.description,
        'text features normalised, averaged over templates, normalised',
        'cosine similarity, first of equal classes',
        `${request.precision}, ${request.providers[0]}, ${engineVersion()}`,
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
    [`give the ${count} names in the order of the folders with --classnames FILE, one per line`],
  )
}

async function classify(
  model: Model,
  prompts: Prompts,
  request: ZeroshotRequest,
  closers: (() => Promise<unknown>)[],
): Promise<Classifier> {
  const open = async (): Promise<TextEncoder> => {
    const encoder = await openTextEncoder(model, {
      providers: request.providers,
      threads: request.threads,
      cacheDir: request.cacheDir,
    })
    closers.push(() => encoder.close())
    request.onNote?.(
      `Embedding ${prompts.classnames.length} classes × ${prompts.templates.length} templates (kept in the cache).`,
    )
    return encoder
  }
  return buildClassifier(open, prompts, { modelDigest: model.digest, cacheDir: request.cacheDir, stop: request.stop })
}

function createTally(names: string[]) {
  const counts = names.map(() => ({ images: 0, top1: 0, top5: 0 }))
  const mistakes = new Map<number, number>()
  const rejects: Reject[] = []
  let images = 0
  return {
    rejects,
    get images() {
      return images
    },
    add(label: number, top: Int32Array): void {
      const count = counts[label]!
      images++
      count.images++
      if (top[0] === label) count.top1++
      else mistakes.set(label * names.length + top[0]!, (mistakes.get(label * names.length + top[0]!) ?? 0) + 1)
      if (top.includes(label)) count.top5++
    },
    finish() {
      const percent = (part: number, whole: number): number => (whole === 0 ? 0 : (100 * part) / whole)
      const sum = (key: 'top1' | 'top5'): number => counts.reduce((total, count) => total + count[key], 0)
      const classes: ClassAccuracy[] = []
      for (const [label, count] of counts.entries()) {
        if (count.images === 0) continue
        const { images: n, top1, top5 } = count
        classes.push({ label, name: names[label]!, images: n, top1: percent(top1, n), top5: percent(top5, n) })
      }
      const confusions = [...mistakes]
        .sort((a, b) => b[1] - a[1] || a[0] - b[0])
        .slice(0, CONFUSIONS)
        .map(([pair, n]) => ({
          label: names[Math.floor(pair / names.length)]!,
          takenFor: names[pair % names.length]!,
          images: n,
        }))
      return {
        top1: percent(sum('top1'), images),
        top5: percent(sum('top5'), images),
        images,
        rejects,
        classes,
        confusions,
      }
    },
  }
}

async function passOver(
  request: ZeroshotRequest,
  model: Model,
  set: PreparedSet,
  classifier: Classifier,
  tally: ReturnType<typeof createTally>,
  closers: (() => Promise<unknown>)[],
): Promise<boolean> {
  const { height, width } = set.transform
  const { precision } = request
  const spec: EncoderSpec = {
    height,
    width,
    outputs: ['clip'],
    dtype: 'float32',
    precision,
    device: request.device,
  }
  const graph = await compileEncoder(model, spec, { cacheDir: request.cacheDir })
  const session = await openSession({ path: graph.path, providers: request.providers, threads: request.threads })
  closers.push(() => session.close())
  let done = 0
  const ranked = mapOrdered(set.batches(), 2, async (batch) => {
    const count = batch.rows.length
    let features: Float32Array = new Float32Array()
    if (count > 0) {
      const data = new Uint8Array(batch.pixels.memory, 0, count * batch.pixels.imageBytes)
      const { outputs } = await session.run({ pixels: { data, dtype: 'uint8', dims: [count, height, width, 3] } }, [
        'clip',
      ])
      features = outputs.clip!.data as Float32Array
    }
    set.release(batch)
    return { batch, features }
  })
  for await (const { batch, features } of ranked) {
    const count = Math.min(TOP, classifier.classes)
    const top = rankClasses(classifier, features, count)
    for (const [i, row] of batch.rows.entries()) {
      if (row.label === null || row.label < 0 || row.label >= classifier.classes) {
        throw usageError(
          'no_label',
          `${row.uri} has ${row.label === null ? 'no label' : `the label ${row.label}, but there are ${classifier.classes} class names`}`,
          ['give a folder of class folders, a tar with .cls members, or a list with labels'],
        )
      }
      tally.add(row.label, top.subarray(i * count, (i + 1) * count))
    }
    tally.rejects.push(...batch.rejects.map(({ reject }) => reject))
    done += batch.entries.length
    request.onImages?.(done, set.total, tally.rejects.length)
    if (request.stop?.aborted) break
  }
  return done < set.total
}
