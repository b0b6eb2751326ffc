/** What a probe's numbers are of, in words and counts. */
import { firstProvider } from '../../engine/device.js'
import type { ListingFacts } from '../../io/sources/listing-report.js'
import { engineVersion } from '../../version.js'
import { type ProbeProgress, rejectedReadings, sumOfCounts } from './checkpoint.js'
import type { ProbeData } from './data.js'
import type { HeadGroup } from './heads.js'
import type { ProbeRequest, ProbeResult } from './request.js'

export function describeProbe(
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
