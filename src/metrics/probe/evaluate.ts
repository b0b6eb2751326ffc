/**
 * `vtp eval-probe`: a grid of linear heads on frozen features, trained at once (official script:
 * tools/test_linear_probing_hf.py). Augmented images go through the model at every step, or features that
 * `vtp encode` wrote are used as they are. Validation features are computed once: the model is frozen.
 */
import path from 'node:path'
import { firstProvider } from '../../engine/device.js'
import { usageError } from '../../errors.js'
import { openMatrixProducts } from '../linalg/matmul.js'
import { evaluationIdentity } from '../pass/identity.js'
import { openState } from '../pass/state.js'
import { type ProbeProgress, stateOfGroup } from './checkpoint.js'
import { nearestNeighbours, ridgeProbe } from './closed-form.js'
import { type Closers, openImageData, openStoredData, type ProbeData } from './data.js'
import { type HeadGroup, headGrid, initialWeights, SCRIPT_BLOCKS } from './heads.js'
import type { FeatureLayout } from './layout.js'
import { describeProbe } from './protocol.js'
import type { ProbeRequest, ProbeResult } from './request.js'
import { mixSeeds } from './sampler.js'
import type { StoredFeatures } from './stored-features.js'
import { bestOf, trainHeads } from './train-heads.js'
import { openTrainer, type Trainer, type TrainerSpec, type TrainerState } from './trainer.js'

const BEGINNING: ProbeProgress = { epoch: 0, step: 0, lossSum: 0, trainRejects: 0, accuracies: [], losses: [] }

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
    const state = await openState<ProbeProgress>(identity, { dir, cacheDir, checkpointSeconds, onNote: request.onNote })
    let complete = false
    closers.push(() => state.close(complete))
    const trainers: Trainer[] = []
    closers.push(() => Promise.all(trainers.map((trainer) => trainer.close())))
    for (const [i, group] of groups.entries()) {
      const initial = stateOfGroup(state.arrays, i) ?? freshHeads(group, data, mixSeeds(seed, 7, i))
      trainers.push(await openTrainer(headSpec(group, data), initial, request))
    }
    const progress = state.head ?? structuredClone(BEGINNING)
    if (state.head) request.onNote?.(`Continuing at step ${progress.epoch * epochLength + progress.step}.`)
    const interrupted = !(await trainHeads(request, data, groups, trainers, progress, state))
    const closed = !interrupted && data.stored ? await closedForm(request, data, data.stored) : {}
    complete = !interrupted
    return { ...best(progress), ...closed, ...describeProbe(request, data, groups, progress), interrupted }
  } finally {
    for (const close of closers.reverse()) await close().catch(() => {})
  }
}

function headSpec({ heads, blocks, avgpool }: HeadGroup, { layout, classes }: ProbeData): TrainerSpec {
  return { heads: heads.length, classes, dim: layout.dim * (blocks + (avgpool ? 1 : 0)) }
}

function freshHeads(group: HeadGroup, data: ProbeData, seed: number): Pick<TrainerState, 'weight' | 'bias'> {
  const { heads, classes, dim } = headSpec(group, data)
  return { weight: initialWeights(heads * classes * dim, seed), bias: new Float32Array(heads * classes) }
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
