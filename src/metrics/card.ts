/**
 * The table of VTP's model card, row by row: which checkpoint a published figure belongs to, what it measures, where
 * it is from, and every doubt about that as a footnote. `vtp eval --card` puts our own number beside it. How sure a row
 * is of its checkpoint: A, its authors say so; B, it follows from several sources; C, from memory or inference.
 */

/** `probe` needs training images, `generation` samples: those are commands of their own. */
export type CardTask = 'zeroshot' | 'probe' | 'head' | 'recon' | 'generation'

export interface CardRow {
  /** For --rows. */
  id: string
  title: string
  task: CardTask
  /** What we open: a hub id, or the name of a file. */
  model: string
  metric: 'zero-shot' | 'linear probe' | 'fine-tuned' | 'rFID' | 'gFID'
  published: number
  source: string
  sure: 'A' | 'B' | 'C'
  /** Numbers into `FOOTNOTES`, from 1. */
  notes: number[]
}

const METRICS = {
  zeroshot: 'zero-shot',
  probe: 'linear probe',
  head: 'fine-tuned',
  recon: 'rFID',
  generation: 'gFID',
} as const

export const FOOTNOTES = [
  "The card's 74.0 is that of SigLIP's comparison table; open_clip's own result for this file is 75.25, and none of its L/14 has 74.0. It wants mean and deviation 0.5, unlike other OpenCLIP L/14.",
  "open_clip's result with 80 templates is 75.54.",
  '85.9 is not a linear probe: it is ViT-L fine-tuned end to end (85.952 in FINETUNE.md), measured with its own head. The linear probe of MAE L is 75.8 (paper) or 76.0 (code), by another recipe than the grid of DINOv2.',
  'With registers 86.7, without 86.3. The paper also has 86.7 for g/14 at 448 pixels. The figure is of batch 128 on 8 GPUs, features under fp16 autocast.',
  'The file was replaced in April 2025 (full instead of causal attention in the projections); the figures are older.',
  'The authors released no code for this; a third party got top-1 0.31 and FID 6.4 (on a subset) from the released tower. We send quantised tokens through the last block and the pooling head.',
  'The authors give 0.28 for the final checkpoint and for the one of 50 epochs; a third party got 0.344. The reference draws latents from the posterior, unseeded; we take the mean.',
  'gFID needs samples: vtp generate --dit CKPT --model MODEL, then vtp eval-gen. The 50-epoch checkpoint, LightningDiT-XL, 80 epochs, no guidance.',
  '0.57 is reported, 0.54 was reproduced; third parties have 0.57025 and 0.5776. Against the reference batch of ADM it is 1.9.',
  "84.5 is the probe of DINOv2 ViT-B/14 without registers; RAE's encoder has registers (84.6).",
  'gFID needs samples: RAE generates with its own DiT-XL of 80 epochs, which vtp does not run.',
] as const

const VAVAE = 'hustvl/vavae-imagenet256-f16d32-dinov2'
/** Its files are in nyu-visionx/RAE-collections, its YAML is in the repository of its code. */
const RAE = "RAE's YAML, model.pt and stat.pt in one folder"
const CARD = "VTP's model card"

export const CARD_ROWS: readonly CardRow[] = [
  row('vtp-l', 'VTP-L', 'zeroshot', 'MiniMaxAI/VTP-Large-f16d64', 78.2, CARD, 'A'),
  row('vtp-l-recon', 'VTP-L', 'recon', 'MiniMaxAI/VTP-Large-f16d64', 0.36, CARD, 'A'),
  row('openclip', 'OpenCLIP L/14', 'zeroshot', 'laion/CLIP-ViT-L-14-laion2B-s32B-b82K', 74.0, "SigLIP's table", 'C', 1),
  row('clip', 'CLIP L/14', 'zeroshot', 'openai/clip-vit-large-patch14', 75.5, CARD, 'B', 2),
  row('siglip', 'SigLIP L/16-256', 'zeroshot', 'google/siglip-large-patch16-256', 80.5, "UniTok's README", 'B'),
  row('mae', 'MAE L', 'head', 'mae_finetuned_vit_large.pth', 85.9, 'FINETUNE.md of MAE', 'B', 3),
  row('dinov2', 'DINOv2 L/14 reg', 'probe', 'facebook/dinov2-with-registers-large', 86.7, 'README of DINOv2', 'B', 4),
  row('unitok', 'UniTok', 'zeroshot', 'FoundationVision/unitok_tokenizer', 70.8, "UniTok's README", 'B', 5),
  row('unitok-recon', 'UniTok', 'recon', 'FoundationVision/unitok_tokenizer', 0.41, "UniTok's README", 'B', 5),
  row('vila-u', 'VILA-U', 'zeroshot', 'vila-u-7b-256/vision_tower', 73.3, 'paper of VILA-U', 'C', 6),
  row('vila-u-recon', 'VILA-U', 'recon', 'vila-u-7b-256/vision_tower', 1.8, 'paper of VILA-U', 'C', 6),
  row('va-vae', 'VA-VAE f16d32', 'recon', VAVAE, 0.28, "VA-VAE's README", 'B', 7),
  row('va-vae-gen', 'VA-VAE f16d32', 'generation', VAVAE, 4.29, "VA-VAE's README", 'C', 8),
  row(
    'va-vae-d64',
    'VA-VAE f16d64',
    'recon',
    'hf://hustvl/va-vae-imagenet256-experimental-variants/vavae-imagenet256-f16d64-dinov2-50ep.ckpt',
    0.15,
    "VA-VAE's README",
    'B',
    7,
  ),
  row('rae', 'RAE f16d768', 'recon', RAE, 0.57, "RAE's README", 'A', 9),
  row('rae-probe', 'RAE f16d768', 'probe', 'facebook/dinov2-base', 84.5, "RAE's README", 'A', 10),
  row('rae-gen', 'RAE f16d768', 'generation', RAE, 4.28, "RAE's README", 'A', 11),
]

function row(
  id: string,
  title: string,
  task: CardTask,
  model: string,
  published: number,
  source: string,
  sure: CardRow['sure'],
  ...notes: number[]
): CardRow {
  return { id, title, task, model, metric: METRICS[task], published, source, sure, notes }
}

/** A row with what came of it here. */
export interface MeasuredRow extends CardRow {
  /** Undefined where it was not measured: `why` says what to do. */
  ours?: number
  why?: string
  protocol?: string
}

export interface CardCells {
  head: string[]
  rows: string[][]
  /** One line each: protocols, what is missing, footnotes. */
  below: string[]
}

const DIGITS: Partial<Record<CardTask, number>> = { recon: 2, generation: 2 }

/** The card as cells, for a terminal, Markdown and HTML alike. */
export function cardCells(rows: readonly MeasuredRow[]): CardCells {
  const number = (value: number | undefined, { task }: CardRow): string =>
    value === undefined ? '–' : value.toFixed(DIGITS[task] ?? 1)
  const used = [...new Set(rows.flatMap(({ notes }) => notes))].sort((a, b) => a - b)
  const detail = rows.flatMap((one) => {
    const said = one.ours === undefined ? `not measured: ${one.why}` : one.protocol
    return said === undefined ? [] : [`${one.id} (${one.model}): ${said}`]
  })
  return {
    head: ['row', 'model', 'what', 'ours', 'published', 'source'],
    rows: rows.map((one) => [
      one.id,
      one.title,
      one.metric,
      number(one.ours, one),
      `${number(one.published, one)}${one.notes.map((note) => ` [${note}]`).join('')}`,
      `${one.source} (${one.sure})`,
    ]),
    below: [
      'Zero-shot, linear probe and fine-tuned: top-1 in percent. rFID and gFID: lower is better.',
      ...detail,
      'How sure it is that a figure belongs to this checkpoint: A, its authors say so; B, it follows from several sources; C, from memory or inference.',
      ...used.map((note) => `[${note}] ${FOOTNOTES[note - 1]}`),
    ],
  }
}

export function cardMarkdown({ head, rows, below }: CardCells): string {
  const line = (cells: string[]): string => `| ${cells.join(' | ')} |`
  return [
    line(head),
    line(head.map((_, i) => (i === 3 || i === 4 ? '---:' : '---'))),
    ...rows.map(line),
    '',
    ...below.map((text) => `- ${text}`),
    '',
  ].join('\n')
}

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

export function cardHtml({ head, rows, below }: CardCells): string {
  const cells = (tag: string, values: string[]): string =>
    `<tr>${values.map((value, i) => `<${tag}${i === 3 || i === 4 ? ' class="n"' : ''}>${escaped(value)}</${tag}>`).join('')}</tr>`
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Model card, measured</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color-scheme: light dark }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8886 }
.n { text-align: right; font-variant-numeric: tabular-nums }
td:nth-child(2) { overflow-wrap: anywhere }
@media (max-width: 40rem) { body { margin: 1rem auto } table { font-size: 12px } th, td { padding: .25rem .2rem } ul { padding-left: 1rem } }
li { margin: .3rem 0; font-size: 13px; overflow-wrap: anywhere }
</style>
<h1>The model card, measured</h1>
<table><thead>${cells('th', head)}</thead><tbody>
${rows.map((values) => cells('td', values)).join('\n')}
</tbody></table>
<ul>
${below.map((text) => `<li>${escaped(text)}</li>`).join('\n')}
</ul>
</html>
`
}
