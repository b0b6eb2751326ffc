/** The epochs of a probe: every head is trained on the same batches, and validated after each epoch. */
import { mapOrdered } from '../../async/stages.js'
import { EXIT, VtpError } from '../../errors.js'
import { mergeCounts, type RejectCounts } from '../../pipeline/ledger/rejects.js'
import type { NumberArrays } from '../pass/checkpoint.js'
import type { EvalState } from '../pass/state.js'
import { joinStates, type ProbeProgress, rejectedReadings, sumOfCounts } from './checkpoint.js'
import type { ProbeData } from './data.js'
import { cosineRate, type HeadGroup } from './heads.js'
import { selectInput } from './layout.js'
import type { ProbeRequest } from './request.js'
import type { Trainer } from './trainer.js'

/** Trains from where `progress` stands; false when it was stopped. */
export async function trainHeads(
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
export function bestOf(accuracies: Record<string, number>): [string, number] {
  return Object.entries(accuracies).reduce((a, b) => (b[1] > a[1] ? b : a), ['', 0] as [string, number])
}
