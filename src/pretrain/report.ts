/** The report of a pre-training. */
import { countText, type ReportCard, renderReportPage, shortText, tailMean } from '../train/report-page.js'
import type { PretrainPlan } from './plan.js'
import { type CurveName, curvesOf, flatSettings, judgedCards, judgedCurves, judgedTable } from './report-parts.js'
import type { PretrainRecord } from './request.js'

export interface PretrainReport {
  dest: string
  plan: PretrainPlan
  parameters: number
  images: number
  records: readonly PretrainRecord[]
  steps: number
}

const LOSSES: CurveName[] = [
  ['clip', 'Contrastive loss', 'images against captions of the batch'],
  ['dino_local', 'Self-distillation, local crops', 'CLS tokens against the teacher’s'],
  ['dino_global', 'Self-distillation, global crops', 'each against the other one'],
  ['ibot', 'Masked modelling', 'masked patches against the teacher’s'],
  ['koleo', 'KoLeo', 'minus the log of the distance to the nearest image'],
  ['rec_l1', 'Reconstruction, L1', 'normalised pixels'],
  ['rec_laplacian', 'Reconstruction, Laplacian L1', 'normalised pixels, four levels'],
  ['rec_lpips', 'Reconstruction, LPIPS', ''],
]
const VALUES: CurveName[] = [
  ['target_entropy', 'Entropy of the targets', 'nats; 0 and log K are collapse'],
  ['cls_spread', 'Spread of the CLS tokens', '0 where all images have the same direction'],
  ['logit_scale', 'Scale of the contrastive logits', 'what cosines are multiplied by'],
  ['grad_norm', 'Norm of the gradients', 'before clipping'],
  ['lr', 'Learning rate', ''],
  ['weight_decay', 'Weight decay', ''],
  ['momentum', 'Momentum of the teacher', ''],
  ['teacher_temp', 'Temperature of the teacher', ''],
]
export function renderPretrainReport(report: PretrainReport): Promise<string> {
  const { dest, plan, records, parameters } = report
  return renderReportPage({
    title: plan.data.name,
    subtitle: `Joint pre-training: ${countText(parameters)} parameters, ${countText(plan.data.rows)} images${plan.captions ? `, captions: ${plan.captions}` : ''}`,
    cards: cards(report),
    curves: [
      ...judgedCurves(records),
      ...curvesOf(records, LOSSES, { smooth: true }),
      ...curvesOf(records, VALUES, {}),
    ],
    pictures: {
      dest,
      title: 'Pictures',
      note: 'Original, reconstruction, error, and the patch tokens in their three principal components; the newest first.',
      alt: 'reconstructions and patch tokens',
    },
    evaluations: judgedTable(records),
    settings: settings(plan),
  })
}

function cards({ records, steps, images }: PretrainReport): ReportCard[] {
  const last = records.at(-1)
  const step: ReportCard = { title: 'Step', value: last ? countText(last.step) : '0', note: `of ${countText(steps)}` }
  if (!last) return [step]
  const replaced = records.reduce((sum, record) => sum + (record.replaced ?? 0), 0)
  return [
    step,
    { title: 'Total loss', value: shortText(tailMean(records, ({ total }) => total)), note: 'mean of the last steps' },
    {
      title: 'Images',
      value: countText(last.step * images),
      note: replaced > 0 ? `${countText(replaced)} could not be read` : 'taken in',
    },
    ...judgedCards(records),
  ]
}

function settings(plan: PretrainPlan): [string, string][] {
  return [
    ...flatSettings(plan.config),
    ...flatSettings(plan.hyperParameters),
    ['Begun from', plan.init?.name ?? 'fresh weights'],
    ['Seed', String(plan.seed)],
    ['Plan', `${plan.hash.slice(0, 12)}…`],
    ['vtp', plan.vtp],
  ]
}
