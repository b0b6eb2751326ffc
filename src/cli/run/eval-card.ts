/** `vtp eval --card`: the model card's table with our numbers, as far as the checkpoints are here. */
import { stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { EXIT, usageError, VtpError } from '../../errors.js'
import { writeAtomically } from '../../io/atomic.js'
import { makeFolder } from '../../io/make-folder.js'
import { CARD_ROWS, type CardRow, cardCells, cardHtml, cardMarkdown, type MeasuredRow } from '../../metrics/card.js'
import { LEARNING_RATES } from '../../metrics/probe/heads.js'
import { isModelHere } from '../../model/index.js'
import type { CommandContext } from '../base-command.js'
import { formatTable } from '../terminal/format.js'
import { withoutResults } from '../terminal/terminal.js'
import type { EvalCommandFlags } from './eval.js'
import { runEvalHead, runEvalZeroshot } from './eval-classes.js'
import { writeJsonFile } from './eval-context.js'
import { runEvalProbe } from './eval-probe.js'
import { runEvalRecon } from './eval-recon.js'
import type { ExitReason } from './exit-reason.js'

/** Five cells and the gaps between them fit into 80 columns. */
const MAX_CELL = 29

/** The stable object of `--json`. */
export interface CardJson {
  rows: MeasuredRow[]
  markdown: string
  interrupted: boolean
  /** `row_failed`: a row could not be measured; its `why` says the reason. */
  exitReason: ExitReason | 'row_failed'
}

export async function runEvalCard(context: CommandContext, flags: EvalCommandFlags): Promise<CardJson> {
  const data = flags.data ?? flags.source
  if (data === undefined)
    throw usageError('nothing_to_do', '--card needs --data', ['e.g. vtp eval --card --data imagenet'])
  const rows = chooseRows(flags.rows)
  const models = new Map(flags['card-model'].map(parseCardModel))
  const unknown = [...models.keys()].find((id) => !rows.some((row) => row.id === id))
  if (unknown !== undefined) throw noRow(unknown)
  const val = await part(data, 'val')
  const train = await part(data, 'train')
  const { terminal } = context
  const quiet: CommandContext = { ...context, terminal: withoutResults(terminal) }
  const measured: MeasuredRow[] = []
  const kept: (() => Promise<void>)[] = []
  let interrupted = false
  let exitReason: CardJson['exitReason'] = 'done'
  for (const row of rows) {
    const other = models.get(row.id)
    const model = other ?? row.model
    // A number of another checkpoint must not pass for the published one's.
    const title = other === undefined ? row.title : `${row.title}: ${path.basename(other)}`
    const one: MeasuredRow = { ...row, model, title }
    measured.push(one)
    const why = interrupted ? 'the run was interrupted' : await obstacle(row, model, train)
    if (why !== undefined) {
      one.why = why
      continue
    }
    if (!terminal.json) terminal.note(`${row.id}: ${row.metric} of ${model}`)
    try {
      const result = await measure(quiet, { ...flags, kept }, { row, model, val: val ?? data, train: train! })
      if (result.exitReason === 'interrupted') {
        interrupted = true
        one.why = 'the run was interrupted'
      } else Object.assign(one, { ours: result.ours, protocol: result.protocol })
      if (result.exitReason !== 'done') exitReason = result.exitReason
    } catch (error) {
      if (!(error instanceof VtpError)) throw error
      one.why = error.message
      context.exitCode(EXIT.rejects)
      exitReason = 'row_failed'
    }
  }
  if (!interrupted) for (const remove of kept) await remove()
  const cells = cardCells(measured)
  const markdown = cardMarkdown(cells)
  if (flags.out !== undefined) {
    await makeFolder(flags.out)
    await writeJsonFile(path.join(flags.out, 'card.json'), measured)
    await writeAtomically(path.join(flags.out, 'card.md'), (tmp) => writeFile(tmp, markdown))
    await writeAtomically(path.join(flags.out, 'card.html'), (tmp) => writeFile(tmp, cardHtml(cells)))
  }
  // The terminal has no room for the sources: they are in the files.
  const columns = (values: string[]): string[] => values.slice(0, 5).map((text) => text.slice(0, MAX_CELL))
  terminal.print([...formatTable([cells.head, ...cells.rows].map(columns), { right: [3, 4] }), '', ...cells.below])
  return { rows: measured, markdown, interrupted, exitReason }
}

function noRow(id: string): Error {
  return usageError('no_such_row', `The card has no row "${id}"`, [
    `rows are ${CARD_ROWS.map((row) => row.id).join(', ')}`,
  ])
}

function chooseRows(names: string | undefined): CardRow[] {
  if (names === undefined) return [...CARD_ROWS]
  return names.split(',').map((name) => {
    const found = CARD_ROWS.find(({ id }) => id === name.trim())
    if (!found) throw noRow(name.trim())
    return found
  })
}

function parseCardModel(text: string): [string, string] {
  const at = text.indexOf('=')
  if (at > 0 && at < text.length - 1) return [text.slice(0, at), text.slice(at + 1)]
  throw usageError('bad_card_model', `--card-model ${text} is not ROW=MODEL`, [
    'e.g. --card-model mae=mae_finetuned_vit_large.pth',
  ])
}

/** DATA/train or DATA/val, where there is one. */
async function part(data: string, name: string): Promise<string | undefined> {
  const folder = path.join(data, name)
  return (await stat(folder).catch(() => undefined))?.isDirectory() ? folder : undefined
}

/** Why a row cannot be measured, with what to do about it. */
async function obstacle(row: CardRow, model: string, train: string | undefined): Promise<string | undefined> {
  if (row.task === 'generation') return 'it needs samples (see the footnote)'
  if (row.task === 'probe' && train === undefined) return 'a probe needs DATA/train beside DATA/val'
  if (await isModelHere(model)) return undefined
  const pull =
    /^(hf:\/\/|[\w][\w.-]*\/[\w][\w.-]*$)/.test(model) && !model.startsWith('vila-u')
      ? `run vtp model pull ${model}, or `
      : ''
  return `its files are not here: ${pull}name them with --card-model ${row.id}=PATH`
}

interface Measure {
  row: CardRow
  model: string
  val: string
  train: string
}

type Measured = { exitReason: ExitReason; ours?: number; protocol?: string }

async function measure(
  context: CommandContext,
  flags: EvalCommandFlags & { kept: (() => Promise<void>)[] },
  { row, model, val: source, train }: Measure,
): Promise<Measured> {
  const common = { ...flags, source, model, out: undefined }
  switch (row.task) {
    case 'zeroshot': {
      const { top1, protocol, exitReason } = await runEvalZeroshot(context, { ...common, transform: undefined })
      return { ours: top1, protocol, exitReason }
    }
    case 'head': {
      const { top1, protocol, exitReason } = await runEvalHead(context, { ...common, transform: undefined })
      return { ours: top1, protocol, exitReason }
    }
    case 'probe': {
      const probe = {
        ...{
          train,
          val: source,
          features: undefined,
          epochs: 10,
          'epoch-length': 1250,
          blocks: undefined,
          avgpool: undefined,
        },
        ...{ 'learning-rates': LEARNING_RATES, 'distinct-rates': false, neighbours: 20, 'batch-size': 128 },
      }
      const { top1, protocol, exitReason } = await runEvalProbe(context, { ...common, ...probe })
      return { ours: top1, protocol, exitReason }
    }
    default: {
      const recon = { metrics: ['rfid' as const], 'save-images': false, overwrite: false, 'protocol-batch': 32 }
      const { rfid, protocol, exitReason } = await runEvalRecon(context, { ...common, ...recon })
      return { ours: rfid, protocol, exitReason }
    }
  }
}
