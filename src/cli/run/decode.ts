/** `vtp decode` between its flags and the pipeline. */
import { chooseDevice } from '../../engine/choose-device.js'
import { joinFacts, type ListingFacts } from '../../io/sources/listing-report.js'
import { type DecodeResult, runDecode } from '../../pipeline/decode.js'
import type { RejectCounts } from '../../pipeline/ledger/rejects.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { DECODE_FLAGS } from '../flags/encode-flags.js'
import { formatCounts, formatDuration, plural } from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'
import { type ExitReason, endWith, exitReasonOf } from './exit-reason.js'

export type DecodeFlags = FlagValues<typeof DECODE_FLAGS> & { input: string }

/** The stable object of `--json`. */
export interface DecodeJson extends ListingFacts {
  images: number
  /** Images that could not be read. */
  rejects: number
  rejectsByCode: RejectCounts
  seconds: number
  out: string
  device: string
  precision: string
  interrupted: boolean
  exitReason: ExitReason
}

/** As --max-bad of the commands that have it. */
const MAX_BAD = 0.01

export async function runDecodeCommand(context: CommandContext, flags: DecodeFlags): Promise<DecodeJson> {
  const device = chooseDevice({ device: flags.device, precision: flags.precision, requireGpu: false, autoWebGpu: true })
  const progress = context.terminal
  const stop = onStopSignals(progress.note)
  try {
    const result = await runDecode({
      input: flags.input,
      out: flags.out,
      model: flags.model,
      batchSize: flags['batch-size'],
      device,
      sideBySide: flags['side-by-side'],
      grid: flags.grid ? { perRow: flags['per-row'] } : undefined,
      transform: flags.transform,
      imageSize: flags['image-size'],
      limit: flags.limit,
      anyModel: flags['any-model'],
      stop: stop.signal,
      stdin: process.stdin,
      onNote: progress.note,
      onReject: ({ key, code, message }) => progress.note(`left out: ${key} (${code}: ${message})`),
      onProgress: (done) => progress.status(`${plural(done, 'image')} decoded`),
    })
    const exitReason = endWith(context, exitReasonOf(result, MAX_BAD))
    progress.finish(describeResult(result, exitReason, flags.grid === true, device.summary))
    const { rejects, rejectsByCode } = result
    const { images: count, seconds, out, interrupted } = result
    return {
      images: count,
      rejects,
      rejectsByCode,
      seconds: Number(seconds.toFixed(3)),
      out,
      device: device.kind,
      precision: device.precision,
      interrupted,
      ...joinFacts(result.facts ? [result.facts] : []),
      exitReason,
    }
  } finally {
    stop.release()
    progress.close()
  }
}

function describeResult(result: DecodeResult, reason: ExitReason, isSheet: boolean, device: string): string[] {
  const { images, rejects, rejectsByCode, out, seconds } = result
  const left = rejects === 0 ? '' : ` · ${plural(rejects, 'reject')} (${formatCounts(rejectsByCode)})`
  const stopped = reason === 'interrupted' && isSheet
  const done = stopped ? `${plural(images, 'image')} decoded` : `${plural(images, 'image')} decoded to ${out}`
  const lines = [`${done}${left} · ${formatDuration(seconds)} · ${device}`]
  if (reason === 'too_many_rejects') lines.push('Exit code 1: more than 1 % of the images could not be read.')
  if (reason === 'interrupted')
    lines.push(
      `Interrupted (exit code 4); ${isSheet ? 'no sheet is written' : 'every picture that is there is whole'}.`,
    )
  return lines
}
