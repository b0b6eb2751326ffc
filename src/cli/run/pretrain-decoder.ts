/** `vtp pretrain --stage decoder` between its flags and the job: signals, progress, and what is printed. */
import { usageError } from '../../errors.js'
import { runDecoderStage } from '../../pretrain/decoder/job.js'
import type { DecoderInfo, DecoderRequest, DecoderResult } from '../../pretrain/decoder/request.js'
import type { CommandContext } from '../base-command.js'
import { formatCount } from '../terminal/format.js'
import {
  commonRequest,
  endStage,
  heldOut,
  judgedText,
  type PretrainCommandFlags,
  placeLines,
  type StageJson,
  stepsText,
  whileWatched,
} from './pretrain-stage.js'

/** The stable object of `--json`. */
export type DecoderJson = StageJson<DecoderResult>

export function runDecoderCommand(context: CommandContext, flags: PretrainCommandFlags): Promise<DecoderJson> {
  return whileWatched(context, async (watched) => {
    const { terminal } = context
    const result = await runDecoderStage({
      ...requestOf(flags),
      ...watched,
      onStart: (info) => describeStart(info).forEach(terminal.note),
      onEncode: (done, total) =>
        terminal.status(`latents of ${formatCount(done)}${total === null ? '' : ` of ${formatCount(total)}`} images`),
    })
    return endStage(context, result, flags.out, describeResult(result, flags.out))
  })
}

/** Flags of the other stage. */
const JOINT_ONLY = ['replay', 'classnames', 'templates', 'eval-train'] as const

function requestOf(flags: PretrainCommandFlags): DecoderRequest {
  const other = JOINT_ONLY.find((name) => flags[name] !== undefined)
  if (other !== undefined || flags.export !== 'student')
    throw usageError('bad_stage', `--${other ?? 'export'} does not go with --stage decoder`, [
      'leave it out: neither texts nor the trunk take part in this stage',
    ])
  if (flags['dry-run'])
    throw usageError('bad_stage', '--dry-run does not go with --stage decoder', ['try a few steps: --steps 3'])
  const { init, latents } = flags
  if (init === undefined)
    throw usageError('init_missing', '--stage decoder needs --init: the model whose decoder is trained', [
      'give a checkpoint of `vtp pretrain`, a model folder, a hub id, or nano',
    ])
  return { ...commonRequest(flags), init, latents, evaluation: heldOut(flags) }
}

function describeStart(info: DecoderInfo): string[] {
  const { parameters, rows, batch, size, discStart, before } = info
  const { decoder, discriminator } = parameters
  return [
    `Decoder of ${formatCount(decoder)} parameters, discriminator of ${formatCount(discriminator)} from step ${formatCount(discStart + 1)} on · ${formatCount(rows)} images of ${size} × ${size}, batches of ${batch}`,
    ...(before ? [`Before: ${judgedText(before)}`] : []),
    ...placeLines(info),
  ]
}

function describeResult(result: DecoderResult, out: string): string[] {
  const { rejects, before, evaluation, best, checkpoint } = result
  const missing = Object.entries(rejects)
  return [
    stepsText(result),
    ...(missing.length > 0
      ? [
          `Images that could not be read, and have no latents: ${missing.map(([code, count]) => `${formatCount(count)} ${code}`).join(', ')}`,
        ]
      : []),
    ...(evaluation ? [`${judgedText(evaluation)}${before ? ` · before: ${judgedText(before)}` : ''}`] : []),
    ...(best
      ? [`Best by ${best.by === 'rfid' ? 'rFID' : 'PSNR'} (${best.value.toFixed(2)}): ${out}/${best.checkpoint}`]
      : []),
    ...(checkpoint ? [`${out}/${checkpoint} · ${out}/report.html`] : []),
    ...(result.interrupted ? ['Interrupted. Run the same command again to continue.'] : []),
  ]
}
