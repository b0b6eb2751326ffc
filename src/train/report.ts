/** The report of a diffusion transformer's training. */
import { ditName } from '../model/lightningdit/config.js'
import { ditParameters } from '../model/lightningdit/tensors.js'
import type { LogRecord } from './log.js'
import type { TrainPlan } from './plan.js'
import type { CurveOptions } from './report-curve.js'
import {
  countText,
  pointsOf,
  type ReportCard,
  type ReportCurve,
  renderReportPage,
  shortText,
  tailMean,
} from './report-page.js'

export interface TrainReport {
  dest: string
  plan: TrainPlan
  records: readonly LogRecord[]
  steps: number
}

export function renderTrainReport({ dest, plan, records, steps }: TrainReport): Promise<string> {
  const rows = plan.data.rows === null ? '' : ` (${countText(plan.data.rows)} rows)`
  const judged = records.filter((record) => record.fid !== undefined)
  return renderReportPage({
    title: ditName(plan.model),
    subtitle: `${countText(ditParameters(plan.model))} parameters, on ${plan.data.name}${rows}`,
    cards: cards(plan, records, steps),
    curves: curves(records),
    pictures: {
      dest,
      title: 'Samples',
      note: 'Averaged weights, the same noise and classes at every step; the newest first.',
      alt: 'samples',
    },
    evaluations: {
      head: ['step', 'FID', 'samples', 'protocol'],
      rows: judged.map(({ step, fid, fidImages, protocol }) => [
        countText(step),
        shortText(fid!),
        countText(fidImages ?? 0),
        protocol ?? '',
      ]),
    },
    settings: settings(plan),
  })
}

function curves(records: readonly LogRecord[]): ReportCurve[] {
  const curve = (
    title: string,
    note: string,
    pick: (record: LogRecord) => number | undefined,
    options: CurveOptions,
  ): ReportCurve => ({ title, note, points: pointsOf(records, pick), ...options })
  const smooth = { smooth: true }
  return [
    curve('Loss', 'squared error of the prediction, mean of a batch', ({ mse }) => mse, smooth),
    curve('Cosine loss', '1 − cosine between prediction and target', ({ cos }) => cos, smooth),
    curve('Norm of the gradients', 'before clipping, logarithmic', ({ gradNorm }) => gradNorm ?? undefined, {
      ...smooth,
      log: true,
    }),
    curve('FID', 'of samples of the averaged weights, lower is better', ({ fid }) => fid, { dots: true }),
    curve('Learning rate', '', ({ lr }) => lr, {}),
  ]
}

function cards(plan: TrainPlan, records: readonly LogRecord[], steps: number): ReportCard[] {
  const last = records.at(-1)
  const judged = records.findLast((record) => record.fid !== undefined)
  const step: ReportCard = { title: 'Step', value: last ? countText(last.step) : '0', note: `of ${countText(steps)}` }
  if (!last) return [step]
  const epochs = last.epoch === undefined ? '' : `${last.epoch.toFixed(2)} epochs`
  return [
    step,
    { title: 'Loss', value: shortText(tailMean(records, ({ mse }) => mse)), note: 'mean of the last steps' },
    { title: 'Images', value: countText(last.step * plan.batch), note: epochs },
    ...(judged
      ? [
          {
            title: 'FID',
            value: shortText(judged.fid!),
            note: `${countText(judged.fidImages ?? 0)} samples, step ${countText(judged.step)}`,
          },
        ]
      : []),
  ]
}

function settings(plan: TrainPlan): [string, string][] {
  const { optimizer, schedule, transport, time, stats } = plan
  return [
    ['Batch', `${plan.batch} (${plan.microBatch} at once)`],
    ['Learning rate', `${schedule.lr} ${schedule.kind}${schedule.warmup > 0 ? `, warm-up ${schedule.warmup}` : ''}`],
    ['AdamW', `betas ${optimizer.beta1}, ${optimizer.beta2}; decay ${optimizer.weightDecay}`],
    ['Clipping', optimizer.maxGradNorm === undefined ? 'none' : String(optimizer.maxGradNorm)],
    ['Average', String(optimizer.emaDecay)],
    ['Transport', `${transport.path}, ${transport.prediction}`],
    ['Times', time.lognorm ? `logit-normal ${time.lognorm.mu}, ${time.lognorm.sigma}` : 'uniform'],
    ['Cosine loss', plan.cosineLoss ? 'yes' : 'no'],
    ['Labels dropped', String(plan.labelDropout)],
    ['Statistics', stats?.name ?? 'none'],
    ['Begun from', plan.init ? `${plan.init.name}, step ${plan.init.step}` : 'fresh weights'],
    ['Seed', String(plan.seed)],
    ['Plan', `${plan.hash.slice(0, 12)}…`],
    ['vtp', plan.vtp],
  ]
}
