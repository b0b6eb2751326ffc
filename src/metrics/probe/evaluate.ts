/**
 * `vtp eval-probe`: a grid of linear heads on frozen features, trained at once (official script:
 * tools/test_linear_probing_hf.py). Augmented images go through the model at every step, or features that
 * `vtp encode` wrote are used as they are. Validation features are computed once: the model is frozen.
 */
import path from 'node:path'
import { mapOrdered } from '../../async/stages.js'
import { firstProvider } from '../../engine/device.js'
import { EXIT, usageError, VtpError } from '../../errors.js'
import type { ListingFacts } from '../../io/sources/listing-report.js'
import { mergeCounts, type RejectCounts } from '../../pipeline/ledger/rejects.js'
import { engineVersion } from '../../version.js'
import { openMatrixProducts } from '../linalg/matmul.js'
import type { NumberArrays } from '../pass/checkpoint.js'
import { evaluationIdentity } from '../pass/identity.js'
import { type EvalState, openState } from '../pass/state.js'
import { joinStates, type ProbeProgress, stateOfGroup } from './checkpoint.js'
import { nearestNeighbours, type RidgeResult, ridgeProbe } from './closed-form.js'
import { type Closers, openImageData, openStoredData, type ProbeData } from './data.js'
import { type FeatureLayout, type StoredFeatures, selectInput } from './features.js'
import { cosineRate, type HeadGroup, headGrid, initialWeights, SCRIPT_BLOCKS } from './heads.js'
import type { ProbeRequest } from './request.js'
import { mixSeeds } from './sampler.js'
import { openTrainer, type Trainer } from './trainer.js'

export interface ProbeResult extends ListingFacts {
  /** Best accuracy over epochs and heads, percent. */
  top1: number
  bestHead: string
  /** Accuracies of the last epoch, percent, by head. */
  accuracies: Record<string, number>
  /** The same after every epoch. */
  epochs: Record<string, number>[]
  losses: number[]
  /** With stored features. */
  knn?: number
  ridge?: RidgeResult
  /** Images of the training set, and those of the validation set that could be read. */
  images: { train: number; val: number }
  /** Readings of images (a training image is read again in every epoch), and those of them that failed. */
  readings: number
  rejects: number
  rejectsByCode: RejectCounts
  classes: number
  model: string | null
  protocol: string
  interrupted: boolean
}

export async function evaluateProbe(request: ProbeRequest): Promise<ProbeResult> {
  const closers: Closers = []
  try {
    const data = request.stored ? await openStoredData(request, closers) : await openImageData(request, closers)
    const groups = headGrid({ ...request, ...fittingGrid(request, data.layout) })
    checkGroups(groups, data.layout)
    const { out, cacheDir, checkpointSeconds, epochs, epochLength, batchSize, seed, device } = request
    const dir = out === undefined ? undefined : path.join(out, '_probe')
    const identity = await evaluationIdentity(
      'linear probe',
      { ...data.decides, groups, epochs, epochLength, batchSize, seed, provider: firstProvider(device) },
      { dir, stamp: () => data.stamp },
    )
    const state = await openState<ProbeProgress>(identity, {
      dir,
      cacheDir,
      checkpointSeconds,
      onNote: request.onNote,
    })
    let complete = false
    closers.push(() => state.close(complete))
    const trainers: Trainer[] = []
    for (const [i, { heads, blocks, avgpool }] of groups.entries()) {
      const dim = data.layout.dim * (blocks + (avgpool ? 1 : 0))
      const rows = heads.length * data.classes
      const fresh = { weight: initialWeights(rows * dim, mixSeeds(request.seed, 7, i)), bias: new Float32Array(rows) }
      const trainer = await openTrainer(
        { heads: heads.length, classes: data.classes, dim },
        stateOfGroup(state.arrays, i) ?? fresh,
        request,
      )
      trainers.push(trainer)
      closers.push(() => trainer.close())
    }
    const progress: ProbeProgress = state.head ?? {
      epoch: 0,
      step: 0,
      lossSum: 0,
      trainRejects: 0,
      accuracies: [],
      losses: [],
    }
    if (state.head) request.onNote?.(`Continuing at step ${progress.epoch * epochLength + progress.step}.`)
    const interrupted = !(await trainAll(request, data, groups, trainers, progress, state))
    const closed = !interrupted && data.stored ? await closedForm(request, data, data.stored) : {}
    complete = !interrupted
    return { ...best(progress), ...closed, ...describe(request, data, groups, progress), interrupted }
  } finally {
    for (const close of closers.reverse()) await close().catch(() => {})
  }
}

/** The script's grid where nothing else is asked for, as far as the features have it. */
function fittingGrid(
  { blocks, avgpool, onNote }: ProbeRequest,
  layout: FeatureLayout,
): { blocks: number[]; avgpool: boolean[] } {
  const there = SCRIPT_BLOCKS.filter((count) => count <= layout.blocks)
  if (!blocks && layout.vector === 'CLS' && there.length < SCRIPT_BLOCKS.length)
    onNote?.(
      `CLS tokens of ${layout.blocks === 1 ? 'one block' : `${layout.blocks} blocks`} are there: no heads on the last ${Math.max(...SCRIPT_BLOCKS)}.`,
    )
  return { blocks: blocks ?? there, avgpool: avgpool ?? [layout.patches] }
}

function checkGroups(groups: HeadGroup[], layout: FeatureLayout): void {
  for (const { blocks, avgpool } of groups) {
    if (blocks > layout.blocks)
      throw usageError(
        'too_few_blocks',
        `Heads on the last ${blocks} blocks are asked for, but there are features of ${layout.blocks}`,
        [`pass --blocks ${layout.blocks}, or encode with --outputs layers --layers ${blocks}`],
      )
    if (avgpool && !layout.patches)
      throw usageError('no_patches', 'Heads with averaged patches are asked for, but the shards hold none', [
        'pass --avgpool false',
      ])
  }
}

/** Trains from where `progress` stands; false when it was stopped. */
async function trainAll(
  request: ProbeRequest,
  data: ProbeData,
  groups: HeadGroup[],
  trainers: Trainer[],
  progress: ProbeProgress,
  state: EvalState<ProbeProgress>,
): Promise<boolean> {
  const { epochs, epochLength, stop } = request
  const arrays = (): NumberArrays => joinStates(trainers.map((trainer) => trainer.state))
  const save = (): Promise<void> => state.checkpoint(progress, arrays())
  const total = epochs * epochLength
  while (progress.epoch < epochs) {
    const { epoch } = progress
    const steps = Array.from({ length: epochLength - progress.step }, (_, i) => progress.step + i)
    const batches = mapOrdered(steps, 2, async (step) => ({
      step,
      batch: stop?.aborted ? undefined : await data.train(epoch, step),
    }))
    for await (const { step, batch } of batches) {
      if (stop?.aborted || !batch) {
        await save()
        return false
      }
      const at = epoch * epochLength + step
      if (batch.labels.length > 0) {
        for (const [g, { heads, blocks, avgpool }] of groups.entries()) {
          const rates = heads.map((head) => cosineRate(head.rate, at, total))
          // A step takes its input away; the rows are needed by the next group.
          const input = selectInput(batch.rows, data.layout, blocks, avgpool)
          const loss = await trainers[g]!.step(input === batch.rows ? input.slice() : input, batch.labels, rates)
          progress.lossSum += loss.reduce((sum, value) => sum + value, 0)
        }
      }
      progress.step = step + 1
      progress.trainRejects += request.batchSize - batch.labels.length
      progress.trainRejectsByCode = sumOfCounts(progress.trainRejectsByCode, batch.rejects)
      request.onProgress?.((at + 1) * request.batchSize, total * request.batchSize, rejectedReadings(progress))
      await state.checkpointWhenDue(() => ({ head: progress, arrays: arrays() }))
    }
    const validated = await validate(data, groups, trainers, stop)
    if (!validated) {
      await save()
      return false
    }
    const { accuracies, images, rejects } = validated
    progress.valRejects = data.valCount - images
    progress.valRejectsByCode = rejects
    progress.accuracies.push(accuracies)
    progress.losses.push(progress.lossSum / epochLength)
    Object.assign(progress, { epoch: epoch + 1, step: 0, lossSum: 0 })
    const [name, value] = bestOf(accuracies)
    request.onNote?.(
      `Epoch ${epoch + 1} of ${epochs}: loss ${progress.losses.at(-1)!.toFixed(3)}, best ${value.toFixed(2)} % (${name})`,
    )
    await save()
  }
  return true
}

function sumOfCounts(...all: (RejectCounts | undefined)[]): RejectCounts {
  const sum: RejectCounts = {}
  for (const counts of all) if (counts) mergeCounts(sum, counts)
  return sum
}

function rejectedReadings({ trainRejects, valRejects = 0 }: ProbeProgress): number {
  return trainRejects + valRejects
}

/** Percent by head, in head order, and the images that could be read; undefined when stopped. */
async function validate(
  data: ProbeData,
  groups: HeadGroup[],
  trainers: Trainer[],
  stop?: AbortSignal,
): Promise<{ accuracies: Record<string, number>; images: number; rejects: RejectCounts } | undefined> {
  const predictors = trainers.map((trainer) => trainer.predictor())
  const correct = groups.map(({ heads }) => new Float64Array(heads.length))
  let total = 0
  const rejects: RejectCounts = {}
  for await (const { rows, labels, rejects: more } of data.val()) {
    mergeCounts(rejects, more)
    if (stop?.aborted) return undefined
    total += labels.length
    for (const [g, { heads, blocks, avgpool }] of groups.entries()) {
      const predicted = await predictors[g]!.predict(selectInput(rows, data.layout, blocks, avgpool))
      for (let i = 0; i < labels.length; i++)
        for (let h = 0; h < heads.length; h++) if (predicted[i * heads.length + h] === labels[i]) correct[g]![h]!++
    }
  }
  if (total === 0) {
    throw new VtpError(`None of the ${data.valCount} validation images could be read: there is no accuracy`, {
      code: 'no_validation_images',
      exitCode: EXIT.rejects,
      suggestions: ['check the files of --val, e.g. with `vtp encode --dry-run`'],
    })
  }
  const accuracies = Object.fromEntries(
    groups.flatMap(({ heads }, g) => heads.map((head, h) => [head.name, (100 * correct[g]![h]!) / total])),
  )
  return { accuracies, images: total, rejects }
}

/** The first maximum in head order. */
function bestOf(accuracies: Record<string, number>): [string, number] {
  return Object.entries(accuracies).reduce((a, b) => (b[1] > a[1] ? b : a), ['', 0] as [string, number])
}

function best(progress: ProbeProgress): Pick<ProbeResult, 'top1' | 'bestHead' | 'accuracies' | 'epochs' | 'losses'> {
  const [bestHead, top1] = progress.accuracies.map(bestOf).reduce((a, b) => (b[1] > a[1] ? b : a), ['', 0])
  return {
    top1,
    bestHead,
    accuracies: progress.accuracies.at(-1) ?? {},
    epochs: progress.accuracies,
    losses: progress.losses,
  }
}

async function closedForm(
  request: ProbeRequest,
  data: ProbeData,
  { train, val }: { train: StoredFeatures; val: StoredFeatures },
): Promise<Pick<ProbeResult, 'knn' | 'ridge'>> {
  const products = await openMatrixProducts(request.cacheDir, request.device.cores)
  try {
    const k = Math.min(request.neighbours, train.labels.length)
    const knn = await nearestNeighbours(train, val, data.classes, k, products)
    return { knn, ridge: await ridgeProbe(train, val, data.classes, products) }
  } finally {
    await products.close()
  }
}

function describe(
  request: ProbeRequest,
  data: ProbeData,
  groups: HeadGroup[],
  progress: ProbeProgress,
): Pick<
  ProbeResult,
  'images' | 'readings' | 'rejects' | 'rejectsByCode' | keyof ListingFacts | 'classes' | 'model' | 'protocol'
> {
  const heads = groups.reduce((sum, group) => sum + group.heads.length, 0)
  const { vector } = data.layout
  const blocks = [...new Set(groups.map((group) => group.blocks))].join(' and ')
  const pools = new Set(groups.map(({ avgpool }) => avgpool))
  const reads = `${vector}${pools.has(true) ? ' + mean of patches' : ''}${pools.size > 1 ? ` and ${vector} alone` : ''}`
  const grid = `${heads} heads (${vector === 'CLS' ? `last ${blocks} blocks; ` : ''}${reads}; ${request.rates.length} rates × batch/256${request.distinct ? '' : ', rates with one name in five decimals once, as the script'})`
  const parts = [
    data.views,
    `train N = ${data.trainCount}, validation N = ${data.valCount}, ${data.classes} classes`,
    grid,
    `SGD momentum 0.9, cosine, ${request.epochs} × ${request.epochLength} steps of ${request.batchSize}, seed ${request.seed}`,
    'best head over epochs',
  ]
  if (data.stored)
    parts.push(
      `k-NN k = ${Math.min(request.neighbours, data.trainCount)}, cosine, exp(s / 0.07); ridge on centred features, best of its strengths`,
    )
  parts.push(
    `${request.stored ? 'heads fp32' : `encoder ${request.precision}, heads fp32`}, ${firstProvider(request.device)}, ${engineVersion()}`,
  )
  const trained = (progress.epoch * request.epochLength + progress.step) * request.batchSize
  const readings = data.stored ? 0 : trained + (progress.valRejects === undefined ? 0 : data.valCount)
  return {
    images: { train: data.trainCount, val: data.valCount - (progress.valRejects ?? 0) },
    readings,
    rejects: rejectedReadings(progress),
    rejectsByCode: sumOfCounts(progress.trainRejectsByCode, progress.valRejectsByCode),
    ...data.facts,
    classes: data.classes,
    model: data.model,
    protocol: parts.join('; '),
  }
}
