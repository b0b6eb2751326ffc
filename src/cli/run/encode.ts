/** `vtp encode` between its flags and the pipeline: devices, signals, progress, and what is printed. */

import {
  type EncodeJob,
  type EncodeOptions,
  type EncodeSummary,
  encodeJob,
  encodeSummary,
  type PlanOptions,
} from '../../api/encode.js'
import { errorText, VtpError } from '../../errors.js'
import { listingLines } from '../../io/sources/listing-report.js'
import { type DryRun, dryRun } from '../../pipeline/dry-run.js'
import { type EncodeResult, runEncode } from '../../pipeline/encode.js'
import { listingFacts, type Plan } from '../../pipeline/ledger/plan.js'
import type { PlanRequest } from '../../pipeline/ledger/plan-request.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { ENCODE_FLAGS, PLAN_FLAGS } from '../flags/encode-flags.js'
import { fieldNames } from '../flags/source-flags.js'
import {
  formatBytes,
  formatCommitted,
  formatCount,
  formatCounts,
  formatDuration,
  formatRate,
  plural,
} from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'
import { openTelemetry } from '../terminal/telemetry.js'
import { type ExitReason, endWith, exitCodeOf, exitReasonOf, tooManyRejectsText } from './exit-reason.js'
import { resolveWorker } from './worker.js'

/** How latents are made: `vtp embed` and `vtp classify` make none. */
type LatentFlags = Partial<Pick<FlagValues<typeof ENCODE_FLAGS>, 'latents' | 'seed'>>

export interface EncodeFlags extends Omit<FlagValues<typeof ENCODE_FLAGS>, 'format' | keyof LatentFlags>, LatentFlags {
  source: string
  format: PlanRequest['format']
  /** Whether the source is lines of text. */
  texts?: boolean
  /** Embed captions, too, where the source has them. */
  captionsToo?: boolean
}

/** The stable object of `--json`. */
export interface EncodeJson extends EncodeSummary {
  exitReason: ExitReason
}

/** What of the flags decides the plan. */
export type PlanFlags = Omit<FlagValues<typeof PLAN_FLAGS>, 'format' | keyof LatentFlags> &
  LatentFlags &
  Pick<EncodeFlags, 'format' | 'source' | 'texts' | 'captionsToo'>

/** The flags under the names of the library. */
export function planOptions(flags: PlanFlags): PlanOptions {
  const { source, out, model, outputs, layers, flip, format, dtype, transform, overwrite, texts, captionsToo } = flags
  return {
    ...{ source, out, model, outputs, layers, flip, format, dtype, transform, overwrite, texts, captionsToo },
    sourceOptions: {
      stdin: source === '-' ? process.stdin : undefined,
      allowPrivateUrls: flags['allow-private-urls'],
      fields: fieldNames(flags),
      limit: flags.limit,
      metadata: flags.metadata,
    },
    layersNorm: flags['layers-norm'],
    latents: flags.latents,
    seed: flags.seed,
    imageSize: flags['image-size'],
    shardRows: flags['shard-rows'],
  }
}

export async function runEncodeCommand(context: CommandContext, flags: EncodeFlags): Promise<EncodeJson | DryRun> {
  const worker = resolveWorker(flags['worker-index'], flags['worker-count'])
  const telemetry = await openTelemetry({
    log: flags.log,
    metrics: flags.metrics,
    worker,
    storage: [flags.source, flags.out, flags.model].some((uri) => uri.startsWith('s3://')),
  })
  const progress = context.terminal
  const stop = onStopSignals(progress.note)
  const options: EncodeOptions = {
    ...planOptions(flags),
    device: flags.device,
    precision: flags.precision,
    requireGpu: flags['require-gpu'],
    batchSize: flags['batch-size'],
    workers: flags.workers,
    worker,
    units: flags.units,
    helpOthers: flags['help-others'],
    checkpointSeconds: flags['checkpoint-seconds'],
    sameProcessor: flags['same-processor'],
    retryRejects: flags['retry-rejects'],
    maxPixels: flags['max-pixels'],
    signal: stop.signal,
    onNote: progress.note,
    onProgress: (snapshot) => {
      progress.update(snapshot)
      telemetry.progress(snapshot)
    },
    onEvent: telemetry.event,
    onStart: ({ plan, resumed, unitsLeft }) => {
      telemetry.log('run_started', {
        plan: plan.hash,
        images: plan.source.images,
        units: plan.units.length,
        unitsLeft,
        workers: worker.count,
        workerFrom: worker.from,
        device: job.device.kind,
        pid: process.pid,
        vtp: plan.vtp,
      })
      const noun = `${flags.texts ? 'text' : 'image'}${plan.source.images === 1 ? '' : 's'}`
      const things = !flags.texts && plan.outputs.includes('text') ? `${noun} with captions` : noun
      const amount = `${formatCount(plan.source.images)} ${things}${classesText(plan)} in ${plural(plan.units.length, 'unit')}`
      const how = flags.texts ? '' : ` · ${plan.transform}`
      progress.note(`${amount} · model ${plan.model.name}${how} · ${job.device.summary}`)
      for (const line of listingNotes(plan)) progress.note(line)
      if (flags.flip === undefined && plan.flip) progress.note(FLIP_NOTE)
      if (worker.count > 1)
        progress.note(`worker ${worker.index} of ${worker.count} (${worker.from}): ${plural(unitsLeft, 'unit')} to do`)
      if (unitsLeft === 0)
        progress.note(`Nothing is left to do: every unit ${worker.count > 1 ? 'of this worker ' : ''}is committed.`)
      else if (resumed)
        progress.note(`Continuing: ${formatCommitted(plan.units.length - unitsLeft, plan.units.length)}.`)
    },
  }
  let job: EncodeJob
  try {
    job = encodeJob(options)
    if (flags['dry-run']) {
      const plan = await dryRun(job.request)
      progress.finish(describeDryRun(plan, flags.out))
      return plan
    }
    const result = await runEncode(job.request)
    const exitReason = endWith(context, exitReasonOf({ ...result, images: result.rows }, flags['max-bad']))
    progress.finish(describeResult(result, exitReason, flags))
    telemetry.log('run_ended', {
      exitReason,
      exitCode: exitCodeOf(exitReason),
      newRows: result.newRows,
      rows: result.rows,
      rejects: result.rejects,
      unitsDone: result.unitsDone,
      seconds: round(result.seconds),
      bottleneck: result.bottleneck,
      complete: result.complete,
      interrupted: result.interrupted,
    })
    return { ...encodeSummary(result, job), exitReason }
  } catch (error) {
    const known = error instanceof VtpError ? error : undefined
    telemetry.log('run_failed', { code: known?.code ?? 'internal_error', message: errorText(error) })
    throw error
  } finally {
    stop.release()
    progress.close()
    await telemetry.close()
  }
}

/** " of 10 classes", where labels have names. */
export function classesText({ classes }: Pick<Plan, 'classes'>): string {
  if (!classes) return ''
  return ` of ${plural(classes.length, 'class', 'classes')}`
}

/** Told where nobody has said whether to mirror: the default depends on the format. */
export const FLIP_NOTE =
  'Mirrored latents (latents_flip) are written, too: the loader of LightningDiT draws from both. --no-flip leaves them out.'

/** What the listing had to tell, one line each. */
export function listingNotes(plan: Plan): string[] {
  return listingLines(listingFacts(plan))
}

const round = (value: number): number => Number(value.toFixed(3))

/** What is safe, and what happens next. */
function interruptedText({ kept }: Pick<EncodeResult, 'kept'>): string {
  const safe = kept
    ? `${plural(kept.entries, 'finished image')} of unit ${kept.unit} ${kept.entries === 1 ? 'is' : 'are'} kept: nothing is done twice`
    : 'no unit was left half done'
  return `Interrupted; ${safe}. Run the same command again to continue (exit code 4).`
}

function describeResult(result: EncodeResult, reason: ExitReason, flags: EncodeFlags): string[] {
  const { rows, rejects, rejectsByCode, unitsDone, unitsTotal, bytes, seconds, newRows, imagesPerSecond } = result
  const rate = newRows > 0 ? ` at ${formatRate(imagesPerSecond, flags.texts ? 'texts/s' : 'images/s')}` : ''
  const lines = [
    `${plural(rows, 'row')}, ${plural(rejects, 'reject')}, ${formatCount(unitsDone)}/${plural(unitsTotal, 'unit')}, ` +
      `${formatBytes(bytes)} in ${flags.out} · ${formatDuration(seconds)}${rate}`,
  ]
  if (result.bottleneck)
    lines.push(`bottleneck: ${result.bottleneck} · peak memory ${formatBytes(result.peakMemoryBytes)}`)
  if (rejects > 0) lines.push(`rejects: ${formatCounts(rejectsByCode)}; each is named in ${flags.out}/_rejects-*.jsonl`)
  if (reason === 'interrupted') lines.push(interruptedText(result))
  else if (!result.complete)
    lines.push('Units of other workers are not committed yet; the last worker writes the manifest.')
  if (reason === 'too_many_rejects')
    lines.push(`${tooManyRejectsText({ images: rows, rejects }, flags['max-bad'])} The rows are complete.`)
  if (reason !== 'interrupted' && result.complete && rows > 0) lines.push(...nextSteps(flags))
  return lines
}

/** What can be done with what is there now. */
function nextSteps({ out, outputs, format }: EncodeFlags): string[] {
  const place = /^[\w./:@%+=,-]+$/.test(out) ? out : `'${out.replaceAll("'", "'\\''")}'`
  if (outputs.includes('latents')) return [`Next: vtp decode ${place} --out pictures --limit 16 · vtp verify ${place}`]
  const searchable = format === 'parquet' || format === 'arrow'
  if (outputs.includes('clip') && searchable) return [`Next: vtp index ${place} --out photos.index`]
  return [`Next: vtp verify ${place}`]
}

function describeDryRun(plan: DryRun, out: string): string[] {
  const columns = plan.columns.map((c) => `${c.name} ${c.dtype}[${c.shape.join(',')}]`).join(', ')
  return [
    `Dry run: nothing was written to ${out}${plan.resumed ? ' (it already holds this plan)' : ''}.`,
    `  images    ${formatCount(plan.images)} in ${plural(plan.units, 'unit')}`,
    `  classes   ${plan.classes === null ? 'none with names' : formatCount(plan.classes)}`,
    ...listingLines(plan).map((line) => `  note      ${line}`),
    `  model     ${plan.model}`,
    `  transform ${plan.transform}`,
    `  columns   ${columns}`,
    `  batches   ${plan.batchSize} images per pass`,
    `  size      ${formatBytes(plan.bytes)} (${formatBytes(plan.bytesPerImage)} per image)`,
    `  speed     ${formatRate(plan.imagesPerSecond, 'images/s')}, measured on ${plural(plan.sampled, 'image')} (${plural(plan.sampleRejects, 'reject')})`,
    `  time      ${formatDuration(plan.expectedSeconds)}`,
  ]
}
