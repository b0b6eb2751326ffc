/** `vtp model check` between its flags and the pipeline. */
import { chooseDevice } from '../engine/choose-device.js'
import { VtpError } from '../errors.js'
import type { Precision } from '../model/index.js'
import { type ModelCheck, runModelCheck } from '../pipeline/model-check.js'
import type { CommandContext } from './base-command.js'
import { formatTable } from './format.js'
import { withModel } from './model-command.js'
import { onStopSignals } from './signals.js'

export interface ModelCheckFlags {
  model: string
  source: string
  limit: number
  batchSize?: number
  device: string
}

/** The stable object of `--json`. */
export interface ModelCheckJson extends ModelCheck {
  model: string
  device: string
}

/** What a device can be asked for besides fp32; the simulation of the official bf16 runs on CPUs. */
const COMPARED: Record<string, Precision[]> = { cpu: ['int8', 'bf16-simulated'] }
const COMPARED_ON_GPU: Precision[] = ['fp16', 'bf16']

export function runModelCheckCommand(context: CommandContext, flags: ModelCheckFlags): Promise<ModelCheckJson> {
  const device = chooseDevice({ device: flags.device, precision: 'auto', requireGpu: false })
  return withModel(context, flags.model, async (model, note) => {
    const stop = onStopSignals(note)
    try {
      const result = await runModelCheck({
        model,
        source: flags.source,
        limit: flags.limit,
        batchSize: flags.batchSize ?? Math.min(device.batchSize, flags.limit),
        precisions: COMPARED[device.kind] ?? COMPARED_ON_GPU,
        providers: device.providers,
        threads: device.cores,
        stop: stop.signal,
        onNote: note,
      })
      const json: ModelCheckJson = { model: model.name, device: device.kind, ...result }
      if (!context.json) process.stdout.write(`${describeModelCheck(json).join('\n')}\n`)
      return json
    } catch (error) {
      if (!stop.signal.aborted) throw error
      throw new VtpError('Interrupted', { code: 'interrupted', exitCode: 4, suggestions: ['run it again'] })
    } finally {
      stop.release()
    }
  })
}

const LABELS: Partial<Record<Precision, string>> = { 'bf16-simulated': 'official bf16 (simulated)' }

export function describeModelCheck(check: ModelCheckJson): string[] {
  const outputs = check.precisions[0]!.errors.map(({ output }) => output)
  const header = ['precision', ...outputs.flatMap((name) => [`${name} error`, 'cosine']), 'PSNR', 'change', 'images/s']
  const rows = check.precisions.map(({ precision, errors, psnr, psnrChange, imagesPerSecond }) => [
    LABELS[precision] ?? precision,
    ...errors.flatMap(({ meanRelative, cosine }) => [`${(100 * meanRelative).toFixed(3)} %`, cosine.toFixed(6)]),
    psnr === null ? '-' : `${psnr.toFixed(2)} dB`,
    psnrChange === null ? '-' : psnrChange.toFixed(3),
    imagesPerSecond === null ? '-' : imagesPerSecond.toFixed(2),
  ])
  const right = header.map((_, i) => i).slice(1)
  return [
    `${check.model} on ${check.device}, ${check.images} images, ${check.transform}`,
    '',
    ...formatTable([header, ...rows], { right }),
    '',
    'error: mean |x − fp32| / mean |fp32|; cosine: mean over images; PSNR: reconstruction against the',
    'preprocessed image, encoder and decoder at that precision; images/s: the encoder alone, all outputs.',
  ]
}
