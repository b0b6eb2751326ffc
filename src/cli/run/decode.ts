/** `vtp decode` between its flags and the pipeline. */
import { chooseDevice } from '../../engine/choose-device.js'
import { EXIT } from '../../errors.js'
import { runDecode } from '../../pipeline/decode.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { DECODE_FLAGS } from '../flags/encode-flags.js'
import { formatCount, formatDuration } from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'

export type DecodeFlags = FlagValues<typeof DECODE_FLAGS> & { input: string }

/** The stable object of `--json`. */
export interface DecodeJson {
  images: number
  seconds: number
  out: string
  device: string
  precision: string
  interrupted: boolean
}

export async function runDecodeCommand(context: CommandContext, flags: DecodeFlags): Promise<DecodeJson> {
  const device = chooseDevice({ device: flags.device, precision: flags.precision, requireGpu: false })
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
      transform: flags.transform,
      imageSize: flags['image-size'],
      limit: flags.limit,
      anyModel: flags['any-model'],
      stop: stop.signal,
    })
    const images = `${formatCount(result.images)} image${result.images === 1 ? '' : 's'}`
    progress.finish([`${images} decoded to ${result.out} · ${formatDuration(result.seconds)} · ${device.summary}`])
    if (result.interrupted) context.exitCode(EXIT.interrupted)
    const { images: count, seconds, out, interrupted } = result
    return {
      images: count,
      seconds: Number(seconds.toFixed(3)),
      out,
      device: device.kind,
      precision: device.precision,
      interrupted,
    }
  } finally {
    stop.release()
    progress.close()
  }
}
