/** `vtp model check` between its flags and the pipeline. */

import { chooseDevice, KNOWN_PRECISIONS } from '../../engine/choose-device.js'
import type { DeviceKind } from '../../engine/providers.js'
import { VtpError } from '../../errors.js'
import type { Precision } from '../../model/index.js'
import { type ModelCheck, runModelCheck } from '../../pipeline/model-check.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { MODEL_CHECK_FLAGS } from '../flags/model-flags.js'
import { fieldNames } from '../flags/source-flags.js'
import { formatTable, plural } from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'
import type { ExitReason } from './exit-reason.js'
import { withModel } from './model.js'

export type ModelCheckFlags = FlagValues<typeof MODEL_CHECK_FLAGS> & { model: string; source: string }

/** The stable object of `--json`. */
export interface ModelCheckJson extends ModelCheck {
  model: string
  device: string
  exitReason: ExitReason
}

/** What a device can be asked for, and the simulation of the official bf16. */
const compared = (kind: DeviceKind): Precision[] => [
  ...KNOWN_PRECISIONS[kind].filter((name) => name !== 'fp32'),
  'bf16-simulated',
]

export function runModelCheckCommand(context: CommandContext, flags: ModelCheckFlags): Promise<ModelCheckJson> {
  const device = chooseDevice({ device: flags.device, precision: 'auto', requireGpu: false })
  return withModel(context, flags.model, async (model, note) => {
    const stop = onStopSignals(note)
    try {
      const result = await runModelCheck({
        model,
        source: flags.source,
        limit: flags.limit,
        fields: fieldNames(flags),
        batchSize: flags['batch-size'],
        precisions: compared(device.kind),
        device,
        stdin: process.stdin,
        stop: stop.signal,
        onNote: note,
      })
      const json: ModelCheckJson = { model: model.name, device: device.kind, ...result, exitReason: 'done' }
      context.terminal.print(describeModelCheck(json))
      return json
    } catch (error) {
      if (!stop.signal.aborted) throw error
      throw new VtpError('Interrupted', { code: 'interrupted', exitCode: 4, suggestions: ['run it again'] })
    } finally {
      stop.release()
    }
  })
}

const LABELS: Partial<Record<Precision, string>> = { 'bf16-simulated': 'official bf16 (sim.)' }

/** A line per precision and output, within 80 columns. */
export function describeModelCheck(check: ModelCheckJson): string[] {
  const header = ['precision', 'output', 'error', 'cosine', 'PSNR', 'change', 'images/s']
  const rows = check.precisions.flatMap(({ precision, errors, psnr, psnrChange, imagesPerSecond }) =>
    errors.map(({ output, meanRelative, cosine }, i) => {
      const line = [output, `${(100 * meanRelative).toFixed(3)} %`, cosine.toFixed(6)]
      if (i > 0) return ['', ...line, '', '', '']
      return [
        LABELS[precision] ?? precision,
        ...line,
        psnr === null ? '-' : `${psnr.toFixed(2)} dB`,
        psnrChange === null ? '-' : withoutMinusZero(psnrChange.toFixed(3)),
        imagesPerSecond === null ? '-' : imagesPerSecond.toFixed(2),
      ]
    }),
  )
  const rejects = check.rejects > 0 ? ` (${check.rejects} more cannot be decoded)` : ''
  return [
    `${check.model} on ${check.device}, ${plural(check.images, 'image')}${rejects}, ${check.transform}`,
    '',
    ...formatTable([header, ...rows], { right: [2, 3, 4, 5, 6] }),
    '',
    'error: mean |x - fp32| / mean |fp32|, on a CPU. cosine: mean over images.',
    'PSNR: reconstruction against the preprocessed image, both at that precision.',
    'images/s: the encoder alone, all outputs. (sim.): an fp32 graph that rounds to',
    'bfloat16 where the official code does under autocast.',
  ]
}

function withoutMinusZero(number: string): string {
  return Number(number) === 0 ? number.replace('-', '') : number
}
