/** `vtp show` between its flags and the pipeline. */
import { chooseDevice } from '../../engine/choose-device.js'
import { SHOWN_ERROR, type ShowColumn, type ShowResult, showImages } from '../../pipeline/show.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { SHOW_FLAGS } from '../flags/encode-flags.js'
import { formatDuration } from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'
import type { ExitReason } from './exit-reason.js'

export type ShowFlags = FlagValues<typeof SHOW_FLAGS> & { source: string }

/** The stable object of `--json`. */
export interface ShowJson extends ShowResult {
  exitReason: ExitReason
}

const TITLES: Record<ShowColumn, string> = {
  original: 'original',
  reconstruction: 'reconstruction',
  error: `error (white: ${SHOWN_ERROR} of 255 or more)`,
  patches: 'patch tokens (three principal components)',
}

export async function runShow(context: CommandContext, flags: ShowFlags): Promise<ShowJson> {
  const device = chooseDevice({ device: flags.device, precision: flags.precision, requireGpu: false, autoWebGpu: true })
  const progress = context.terminal
  const stop = onStopSignals(progress.note)
  try {
    const result = await showImages({
      source: flags.source,
      out: flags.out,
      model: flags.model,
      device,
      limit: flags.limit,
      transform: flags.transform,
      imageSize: flags['image-size'],
      stdin: process.stdin,
      stop: stop.signal,
      onNote: progress.note,
      onReject: ({ key, code, message }) => progress.note(`left out: ${key} (${code}: ${message})`),
    })
    const missing = Object.entries(result.missing).map(([name, why]) => `no ${TITLES[name as ShowColumn]}: ${why}`)
    const images = `${result.images} image${result.images === 1 ? '' : 's'}`
    progress.finish([
      `${images} in ${result.out} · ${formatDuration(result.seconds)} · ${device.summary}`,
      `columns: ${result.columns.map((name) => TITLES[name]).join(' · ')}`,
      ...missing,
    ])
    return { ...result, exitReason: 'done', seconds: Number(result.seconds.toFixed(3)) }
  } finally {
    stop.release()
    progress.close()
  }
}
