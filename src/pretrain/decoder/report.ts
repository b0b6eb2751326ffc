/** The report of a stage of the decoder. */
import { countText, type ReportCard, renderReportPage, shortText, tailMean } from '../../train/report-page.js'
import type { Best } from '../judge.js'
import {
  type CurveName,
  curvesOf,
  flatSettings,
  judgedCards,
  judgedCurves,
  judgedTable,
  type ReportRecord,
} from '../report-parts.js'
import type { DecoderPlan } from './plan.js'
import type { DecoderRecord } from './request.js'

export interface DecoderReport {
  dest: string
  plan: DecoderPlan
  parameters: { decoder: number; discriminator: number }
  records: readonly DecoderRecord[]
  /** The evaluation of --init, as step 0. */
  before: ReportRecord | undefined
  best: Best | undefined
  steps: number
  /** Images of a step. */
  batch: number
}

const LOSSES: CurveName[] = [
  ['rec_l1', 'L1', 'pixels in −1…1'],
  ['rec_laplacian', 'Laplacian L1', 'pixels in −1…1, four levels'],
  ['rec_lpips', 'LPIPS', 'of the batch'],
  ['g_loss', 'Adversarial loss', 'minus the mean logit of reconstructions'],
  ['d_loss', 'Loss of the discriminator', '0 before it counts'],
  ['d_weight', 'Weight of the adversarial loss', 'by the gradients at the decoder’s last weight'],
  ['logits_real', 'Logits of images', 'mean'],
  ['logits_fake', 'Logits of reconstructions', 'mean'],
]
const VALUES: CurveName[] = [
  ['grad_norm', 'Norm of the decoder’s gradients', ''],
  ['d_grad_norm', 'Norm of the discriminator’s gradients', ''],
]

export function renderDecoderReport(report: DecoderReport): Promise<string> {
  const { dest, plan, parameters, records, before } = report
  const judged: ReportRecord[] = [...(before ? [before] : []), ...records]
  return renderReportPage({
    title: plan.data.name,
    subtitle: `The decoder’s GAN stage: ${countText(parameters.decoder)} parameters of the decoder of ${plan.init.name}, ${countText(parameters.discriminator)} of the discriminator, ${countText(plan.data.rows)} images`,
    cards: cards(report, judged),
    curves: [...judgedCurves(judged), ...curvesOf(records, LOSSES, { smooth: true }), ...curvesOf(records, VALUES, {})],
    pictures: {
      dest,
      title: 'Pictures',
      note: 'Original, reconstruction, error, and the patch tokens, which do not change; the newest first. Step 0 is the model before.',
      alt: 'reconstructions',
    },
    evaluations: judgedTable(judged),
    settings: [
      ['transform', plan.transform],
      ...flatSettings(plan.config),
      ...flatSettings(plan.hyperParameters),
      ['Begun from', plan.init.name],
      ['Seed', String(plan.seed)],
      ['Plan', `${plan.hash.slice(0, 12)}…`],
      ['vtp', plan.vtp],
    ],
  })
}

function cards({ records, steps, batch, best }: DecoderReport, judged: ReportRecord[]): ReportCard[] {
  const last = records.at(-1)
  const step: ReportCard = { title: 'Step', value: last ? countText(last.step) : '0', note: `of ${countText(steps)}` }
  if (!last) return [step, ...judgedCards(judged)]
  return [
    step,
    { title: 'Total loss', value: shortText(tailMean(records, ({ total }) => total)), note: 'mean of the last steps' },
    { title: 'Images', value: countText(last.step * batch), note: 'taken in' },
    ...judgedCards(judged),
    ...(best
      ? [{ title: 'Best step', value: countText(best.step), note: `${BY[best.by]} ${shortText(best.value)}` }]
      : []),
  ]
}

const BY: Record<Best['by'], string> = { rfid: 'by rFID', psnr: 'by PSNR' }
