/** The report of a pre-training. */
import {
  countText,
  pointsOf,
  type ReportCard,
  type ReportCurve,
  renderReportPage,
  shortText,
  tailMean,
} from '../train/report-page.js'
import type { PretrainPlan } from './plan.js'
import type { PretrainRecord } from './request.js'

export interface PretrainReport {
  dest: string
  plan: PretrainPlan
  parameters: number
  images: number
  records: readonly PretrainRecord[]
  steps: number
}

const LOSSES: [string, string, string][] = [
  ['clip', 'Contrastive loss', 'images against captions of the batch'],
  ['dino_local', 'Self-distillation, local crops', 'CLS tokens against the teacher’s'],
  ['dino_global', 'Self-distillation, global crops', 'each against the other one'],
  ['ibot', 'Masked modelling', 'masked patches against the teacher’s'],
  ['koleo', 'KoLeo', 'minus the log of the distance to the nearest image'],
  ['rec_l1', 'Reconstruction, L1', 'normalised pixels'],
  ['rec_laplacian', 'Reconstruction, Laplacian L1', 'normalised pixels, four levels'],
  ['rec_lpips', 'Reconstruction, LPIPS', ''],
]
const VALUES: [string, string, string][] = [
  ['target_entropy', 'Entropy of the targets', 'nats; 0 and log K are collapse'],
  ['cls_spread', 'Spread of the CLS tokens', '0 where all images have the same direction'],
  ['grad_norm', 'Norm of the gradients', 'before clipping'],
  ['lr', 'Learning rate', ''],
  ['weight_decay', 'Weight decay', ''],
  ['momentum', 'Momentum of the teacher', ''],
  ['teacher_temp', 'Temperature of the teacher', ''],
]
const JUDGED: [string, string, string][] = [
  ['zeroshot', 'Zero-shot', 'top-1 in percent'],
  ['probe_latents', 'Probe on the latents', 'top-1 in percent'],
  ['probe_features', 'Probe on CLS and mean patch', 'top-1 in percent'],
  ['psnr', 'PSNR', 'dB'],
  ['ssim', 'SSIM', ''],
]

export function renderPretrainReport(report: PretrainReport): Promise<string> {
  const { dest, plan, records, parameters } = report
  const value = (record: PretrainRecord, name: string): number | undefined => {
    const found = record[name]
    return typeof found === 'number' ? found : undefined
  }
  const curves = (names: typeof LOSSES, options: Pick<ReportCurve, 'smooth' | 'dots'>): ReportCurve[] =>
    names.map(([name, title, note]) => ({
      ...{ title, note, ...options },
      points: pointsOf(records, (record) => value(record, name)),
    }))
  const judged = records.filter((record) => record.protocol !== undefined)
  const seen = JUDGED.filter(([name]) => judged.some((record) => value(record, name) !== undefined))
  const cell = (record: PretrainRecord, name: string): string => {
    const found = value(record, name)
    return found === undefined ? '' : shortText(found)
  }
  return renderReportPage({
    title: plan.data.name,
    subtitle: `Joint pre-training: ${countText(parameters)} parameters, ${countText(plan.data.rows)} images${plan.captions ? `, captions: ${plan.captions}` : ''}`,
    cards: cards(report, judged.at(-1)),
    curves: [...curves(JUDGED, { dots: true }), ...curves(LOSSES, { smooth: true }), ...curves(VALUES, {})],
    pictures: {
      dest,
      title: 'Pictures',
      note: 'Original, reconstruction, error, and the patch tokens in their three principal components; the newest first.',
      alt: 'reconstructions and patch tokens',
    },
    evaluations: {
      head: ['step', ...seen.map(([, title]) => title), 'protocol'],
      rows: judged.map((record) => [
        countText(record.step),
        ...seen.map(([name]) => cell(record, name)),
        record.protocol ?? '',
      ]),
    },
    settings: settings(plan),
  })
}

function cards({ records, steps, images }: PretrainReport, judged: PretrainRecord | undefined): ReportCard[] {
  const last = records.at(-1)
  const step: ReportCard = { title: 'Step', value: last ? countText(last.step) : '0', note: `of ${countText(steps)}` }
  if (!last) return [step]
  const shown = judged ? JUDGED.filter(([name]) => typeof judged[name] === 'number').slice(0, 4) : []
  const replaced = records.reduce((sum, record) => sum + (record.replaced ?? 0), 0)
  return [
    step,
    { title: 'Total loss', value: shortText(tailMean(records, ({ total }) => total)), note: 'mean of the last steps' },
    {
      title: 'Images',
      value: countText(last.step * images),
      note: replaced > 0 ? `${countText(replaced)} could not be read` : 'taken in',
    },
    ...shown.map(([name, title]) => ({
      title,
      value: shortText(judged![name] as number),
      note: `step ${countText(judged!.step)}`,
    })),
  ]
}

function settings(plan: PretrainPlan): [string, string][] {
  const flat = (value: unknown, name: string): [string, string][] =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.entries(value).flatMap(([key, inner]) => flat(inner, name ? `${name}.${key}` : key))
      : [[name, Array.isArray(value) ? value.join(', ') : String(value)]]
  return [
    ...flat(plan.config, ''),
    ...flat(plan.hyperParameters, ''),
    ['Begun from', plan.init?.name ?? 'fresh weights'],
    ['Seed', String(plan.seed)],
    ['Plan', `${plan.hash.slice(0, 12)}…`],
    ['vtp', plan.vtp],
  ]
}
