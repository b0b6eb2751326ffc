/** `vtp encode` between its flags and the pipeline: devices, signals, progress, and what is printed. */

import { chooseDevice } from '../../engine/choose-device.js'
import { planThreads } from '../../engine/threads.js'
import { EXIT, type ExitCode, errorText, usageError, VtpError } from '../../errors.js'
import { passedOverText } from '../../io/sources/listing-report.js'
import { type DryRun, dryRun } from '../../pipeline/dry-run.js'
import { type EncodeResult, runEncode } from '../../pipeline/encode.js'
import type { EncodeRequest } from '../../pipeline/encode-request.js'
import { listingFacts, type Plan } from '../../pipeline/ledger/plan.js'
import type { PlanRequest } from '../../pipeline/ledger/plan-request.js'
import type { PassedOver, SourceNote } from '../../types.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { ENCODE_FLAGS, PLAN_FLAGS } from '../flags/encode-flags.js'
import { formatBytes, formatCount, formatDuration, formatRate } from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'
import { openTelemetry } from '../terminal/telemetry.js'
import { resolveWorker } from './worker.js'

export interface EncodeFlags extends Omit<FlagValues<typeof ENCODE_FLAGS>, 'format'> {
  source: string
  format: PlanRequest['format']
  /** Whether the source is lines of text. */
  texts?: boolean
  /** Embed captions, too, where the source has them. */
  captionsToo?: boolean
}

/** The stable object of `--json`. */
export interface EncodeJson {
  images: number
  rejects: number
  units: number
  bytes: number
  seconds: number
  imagesPerSecond: number
  bottleneck: string | null
  device: string
  precision: string
  out: string
  /** Rows written by this call; `images` counts all committed rows in `out`. */
  newImages: number
  unitsTotal: number
  complete: boolean
  interrupted: boolean
  peakMemoryBytes: number
  /** Classes of the labels, where they have names. */
  classes: number | null
  /** Files, members and the like that were seen and not taken. */
  passedOver: PassedOver
  /** What else the listing had to tell: labels that were lost, fields left out. */
  notes: SourceNote[]
}

/** What of the flags decides the plan. */
export type PlanFlags = Omit<FlagValues<typeof PLAN_FLAGS>, 'format'> &
  Pick<EncodeFlags, 'format' | 'source' | 'texts' | 'captionsToo'>

/** The part of a request that decides the plan, and where its images come from. */
export function planRequest(flags: PlanFlags, device: { kind: string; precision: string }): PlanRequest {
  const { format } = flags
  return {
    source: flags.source,
    sourceOptions: {
      stdin: flags.source === '-' ? process.stdin : undefined,
      allowPrivateUrls: flags['allow-private-urls'],
    },
    dest: flags.out,
    model: flags.model,
    outputs: flags.outputs,
    texts: flags.texts,
    captionsToo: flags.captionsToo,
    layers: flags.layers,
    layersNorm: flags['layers-norm'],
    flip: flags.flip,
    format,
    dtype: flags.dtype ?? (format === 'safetensors' ? 'float32' : 'float16'),
    transform: flags.transform,
    imageSize: flags['image-size'],
    shardRows: flags['shard-rows'],
    precision: device.precision,
    device: device.kind,
    overwrite: flags.overwrite,
  }
}

export async function runEncodeCommand(context: CommandContext, flags: EncodeFlags): Promise<EncodeJson | DryRun> {
  const device = chooseDevice({
    device: flags.device,
    precision: flags.precision,
    requireGpu: flags['require-gpu'],
  })
  const threads = planThreads({ cores: device.cores, device: device.kind, workers: flags.workers })
  const worker = resolveWorker(flags['worker-index'], flags['worker-count'])
  if (flags.overwrite && (worker.count > 1 || flags.units)) {
    throw usageError(
      'overwrite_by_workers',
      '--overwrite with several workers would delete what the others have done',
      ['run `vtp plan` with --overwrite once, then the workers without it'],
    )
  }
  const telemetry = await openTelemetry({
    log: flags.log,
    metrics: flags.metrics,
    worker,
    storage: [flags.source, flags.out, flags.model].some((uri) => uri.startsWith('s3://')),
  })
  const progress = context.terminal
  const stop = onStopSignals(progress.note)
  let facts: ReturnType<typeof listingFacts> | undefined
  const request: EncodeRequest = {
    ...planRequest(flags, device),
    batchSize: flags['batch-size'] ?? device.batchSize,
    fitsBatch: flags['batch-size'] === undefined,
    threads,
    engine: device,
    worker,
    units: flags.units,
    helpOthers: flags['help-others'],
    retryRejects: flags['retry-rejects'],
    maxPixels: flags['max-pixels'],
    stop: stop.signal,
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
        device: device.kind,
        pid: process.pid,
        vtp: plan.vtp,
      })
      const things = flags.texts ? 'texts' : plan.outputs.includes('text') ? 'images with captions' : 'images'
      const amount = `${formatCount(plan.source.images)} ${things}${classesText(plan)} in ${formatCount(plan.units.length)} unit${plan.units.length === 1 ? '' : 's'}`
      const how = flags.texts ? '' : ` · ${plan.transform}`
      progress.note(`${amount} · model ${plan.model.name}${how} · ${device.summary}`)
      for (const line of listingNotes(plan)) progress.note(line)
      facts = listingFacts(plan)
      if (worker.count > 1)
        progress.note(`worker ${worker.index} of ${worker.count} (${worker.from}): ${unitsLeft} units to do`)
      if (unitsLeft === 0)
        progress.note(`Nothing is left to do: every unit ${worker.count > 1 ? 'of this worker ' : ''}is committed.`)
      else if (resumed)
        progress.note(
          `Continuing: ${formatCount(plan.units.length - unitsLeft)} of ${formatCount(plan.units.length)} units are committed.`,
        )
    },
  }
  try {
    if (flags['dry-run']) {
      const plan = await dryRun(request)
      progress.finish(describeDryRun(plan, request.dest))
      return plan
    }
    const result = await runEncode(request)
    progress.finish(describeResult(result, flags))
    const code = encodeExitCode(result, flags['max-bad'])
    context.exitCode(code)
    telemetry.log('run_ended', {
      exitCode: code,
      newRows: result.newRows,
      rows: result.rows,
      rejects: result.rejects,
      unitsDone: result.unitsDone,
      seconds: round(result.seconds),
      bottleneck: result.bottleneck,
      complete: result.complete,
      interrupted: result.interrupted,
    })
    return {
      images: result.rows,
      rejects: result.rejects,
      units: result.unitsDone,
      bytes: result.bytes,
      seconds: round(result.seconds),
      imagesPerSecond: round(result.imagesPerSecond),
      bottleneck: result.bottleneck,
      device: device.kind,
      precision: device.precision,
      out: flags.out,
      newImages: result.newRows,
      unitsTotal: result.unitsTotal,
      complete: result.complete,
      interrupted: result.interrupted,
      peakMemoryBytes: result.peakMemoryBytes,
      ...facts!,
    }
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
  return ` of ${formatCount(classes.length)} class${classes.length === 1 ? '' : 'es'}`
}

/** What the listing had to tell, one line each. */
export function listingNotes(plan: Plan): string[] {
  const { passedOver, notes } = listingFacts(plan)
  return [passedOverText(passedOver), ...notes.map(({ message }) => message)].filter((line) => line !== undefined)
}

const round = (value: number): number => Number(value.toFixed(3))

export function encodeExitCode(
  result: Pick<EncodeResult, 'rows' | 'rejects' | 'interrupted'>,
  maxBad: number,
): ExitCode {
  if (result.interrupted) return EXIT.interrupted
  const total = result.rows + result.rejects
  return total > 0 && result.rejects / total > maxBad ? EXIT.rejects : EXIT.ok
}

function describeResult(result: EncodeResult, flags: EncodeFlags): string[] {
  const lines: string[] = []
  const rate =
    result.newRows > 0 ? ` at ${formatRate(result.imagesPerSecond, flags.texts ? 'texts/s' : 'images/s')}` : ''
  lines.push(
    `${formatCount(result.rows)} rows, ${formatCount(result.rejects)} rejects, ${result.unitsDone}/${result.unitsTotal} units, ` +
      `${formatBytes(result.bytes)} in ${flags.out} · ${formatDuration(result.seconds)}${rate}`,
  )
  if (result.bottleneck) {
    lines.push(`bottleneck: ${result.bottleneck} · peak memory ${formatBytes(result.peakMemoryBytes)}`)
  }
  if (result.interrupted) lines.push('Interrupted. Run the same command again to continue.')
  else if (!result.complete)
    lines.push('Units of other workers are not committed yet; the last worker writes the manifest.')
  if (result.rejects > 0) {
    const share = result.rejects / (result.rows + result.rejects)
    lines.push(`rejects: see ${flags.out}/_rejects-*.jsonl for each image and its reason`)
    if (share > flags['max-bad']) {
      lines.push(
        `${(share * 100).toFixed(2)} % of the images were rejected, more than --max-bad ${(flags['max-bad'] * 100).toFixed(2)} % (exit code 1). The rows are complete.`,
      )
    }
  }
  return lines
}

function describeDryRun(plan: DryRun, out: string): string[] {
  const columns = plan.columns.map((c) => `${c.name} ${c.dtype}[${c.shape.join(',')}]`).join(', ')
  const unit = plan.units === 1 ? 'unit' : 'units'
  return [
    `Dry run: nothing was written to ${out}${plan.resumed ? ' (it already holds this plan)' : ''}.`,
    `  images    ${formatCount(plan.images)} in ${formatCount(plan.units)} ${unit}`,
    `  classes   ${plan.classes === null ? 'none with names' : formatCount(plan.classes)}`,
    ...[passedOverText(plan.passedOver), ...plan.notes.map(({ message }) => message)]
      .filter((line) => line !== undefined)
      .map((line) => `  note      ${line}`),
    `  model     ${plan.model}`,
    `  transform ${plan.transform}`,
    `  columns   ${columns}`,
    `  batches   ${plan.batchSize} images per pass`,
    `  size      ${formatBytes(plan.bytes)} (${formatBytes(plan.bytesPerImage)} per image)`,
    `  speed     ${formatRate(plan.imagesPerSecond, 'images/s')}, measured on ${plan.sampled} images (${plan.sampleRejects} rejects)`,
    `  time      ${formatDuration(plan.expectedSeconds)}`,
  ]
}
