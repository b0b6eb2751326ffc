/** `vtp eval`: several models, one table. */
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../../errors.js'
import { writeAtomically } from '../../io/atomic.js'
import {
  assertSameSet,
  type ModelScores,
  markdownTable,
  mergeScores,
  readScores,
  toScores,
} from '../../metrics/eval-table.js'
import { checkRidgeSets } from '../../metrics/probe/ridge.js'
import { readPrompts } from '../../metrics/zeroshot/prompts.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { EVAL_TABLE_FLAGS } from '../flags/eval-flags.js'
import { fieldNames } from '../flags/source-flags.js'
import { withoutResults } from '../terminal/terminal.js'
import { runEvalZeroshot } from './eval-classes.js'
import { writeJsonFile } from './eval-context.js'
import { type EvalReconFlags, runEvalRecon } from './eval-recon.js'
import { runRidge } from './eval-ridge.js'
import { type ExitReason, worstReason } from './exit-reason.js'

export type EvalCommandFlags = FlagValues<typeof EVAL_TABLE_FLAGS> & { source?: string }

/** The stable object of `--json`. */
export interface EvalJson {
  models: ModelScores[]
  markdown: string
  interrupted: boolean
  /** The worst of the tasks. */
  exitReason: ExitReason
}

export async function runEval(context: CommandContext, flags: EvalCommandFlags): Promise<EvalJson> {
  const rows: ModelScores[] = (await Promise.all(flags.results.map(readScores))).flat()
  assertSameSet(rows)
  const source = flags.source
  if (source === undefined && rows.length === 0)
    throw usageError('nothing_to_do', 'There is neither SOURCE nor --results', ['e.g. vtp eval photos --model nano'])
  if (source !== undefined) await checkTasks(flags, source)
  // The tables of the single runs would only repeat what the table at the end says.
  const { terminal } = context
  const quiet: CommandContext = { ...context, terminal: withoutResults(terminal) }
  const kept: (() => Promise<void>)[] = []
  let interrupted = false
  const reasons: ExitReason[] = []
  for (const model of source === undefined ? [] : flags.model) {
    const folder = flags.out === undefined ? undefined : path.join(flags.out, model.replaceAll(/[^\w.-]+/g, '_'))
    for (const task of flags.tasks) {
      if (interrupted) break
      if (!terminal.json) terminal.note(`${task} of ${model}`)
      const result = await runTask(quiet, { ...flags, kept }, source!, model, task, folder)
      interrupted ||= result.interrupted
      reasons.push(result.exitReason)
      if (!result.interrupted) rows.push(toScores(result))
    }
  }
  assertSameSet(rows)
  const models = mergeScores(rows)
  const markdown = models.length > 0 ? markdownTable(models) : ''
  if (flags.out !== undefined && models.length > 0) {
    await writeJsonFile(path.join(flags.out, 'results.json'), models)
    await writeAtomically(path.join(flags.out, 'results.md'), (tmp) => writeFile(tmp, `${markdown}\n`))
  }
  // Models that are done wait in the cache until all are.
  if (!interrupted) for (const remove of kept) await remove()
  if (markdown) terminal.print(markdown.split('\n'))
  return { models, markdown, interrupted, exitReason: worstReason(reasons) }
}

/** Wrong files and sets of any task, before the first task takes its time. */
async function checkTasks(flags: EvalCommandFlags, source: string): Promise<void> {
  const { tasks, 'probe-train': train, limit } = flags
  if (tasks.includes('zeroshot')) await readPrompts(flags.classnames, flags.templates)
  if (!tasks.includes('probe')) {
    if (train === undefined) return
    throw usageError('task_missing', '--probe-train is for the task probe, which was not asked for', [
      `add it: --tasks ${[...tasks, 'probe'].join(',')}`,
    ])
  }
  if (train === undefined)
    throw usageError('probe_train_missing', 'The task probe needs images that the probes are fitted on', [
      'e.g. --probe-train photos/train, with the class folders of SOURCE',
    ])
  // The standard input can be read once only.
  if (source !== '-' && train !== '-') await checkRidgeSets({ train, source, limit, fields: fieldNames(flags) })
}

async function runTask(
  context: CommandContext,
  flags: EvalCommandFlags & Pick<EvalReconFlags, 'kept'>,
  source: string,
  model: string,
  task: 'recon' | 'zeroshot' | 'probe',
  folder: string | undefined,
) {
  if (task === 'probe') {
    const out = folder === undefined ? undefined : path.join(folder, 'probe.json')
    return runRidge(context, { ...flags, source, model, train: flags['probe-train']!, out })
  }
  if (task === 'zeroshot') {
    const out = folder === undefined ? undefined : path.join(folder, 'zeroshot.json')
    const stateDir = folder === undefined ? undefined : path.join(folder, '_zeroshot')
    return runEvalZeroshot(context, { ...flags, source, model, out, stateDir })
  }
  return runEvalRecon(context, {
    ...flags,
    source,
    model,
    out: folder,
    'save-images': false,
    'protocol-batch': 32,
  })
}
