/** `vtp generate` between its flags and the job: devices, signals, progress, and what is printed. */
import { type GenerateOptions, generateJob } from '../../api/generate.js'
import { type GenerateInfo, type GenerateRequest, type GenerateResult, runGenerate } from '../../generate/job.js'
import { prepareGenerate } from '../../generate/prepare.js'
import { isRecipe } from '../../generate/recipe.js'
import { ditFlops, ditParameters } from '../../model/dit.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { GENERATE_FLAGS } from '../flags/generate-flags.js'
import { formatBytes, formatCommitted, formatCount, formatDuration, formatRate, plural } from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'
import { type ExitReason, endWith } from './exit-reason.js'
import { resolveWorker } from './worker.js'

export type GenerateFlags = FlagValues<typeof GENERATE_FLAGS>

/** The stable object of `--json`. */
export interface GenerateJson {
  /** Committed images, those of this call, and those of the plan. */
  images: number
  newImages: number
  num: number
  units: number
  unitsTotal: number
  bytes: number
  seconds: number
  imagesPerSecond: number
  parameters: number
  device: string
  precision: string
  out: string
  extras: string[]
  complete: boolean
  interrupted: boolean
  exitReason: ExitReason
  peakMemoryBytes: number
}

export interface GenerateDryRun {
  num: number
  units: number
  dit: string
  parameters: number
  model: string
  labels: string
  sampler: object
  guidance: object | null
  image: { height: number; width: number }
  /** Of the transformer per image, a multiplication and an addition counted as two; null where the tolerances decide. */
  teraflops: number | null
}

export async function runGenerateCommand(
  context: CommandContext,
  flags: GenerateFlags,
): Promise<GenerateJson | GenerateDryRun> {
  const worker = resolveWorker(flags['worker-index'], flags['worker-count'])
  const progress = context.terminal
  const stop = onStopSignals(progress.note)
  const planned = { num: 0, parameters: 0 }
  try {
    const { request, device } = generateJob({
      ...generateOptions(flags),
      worker,
      signal: stop.signal,
      onNote: progress.note,
      onProgress: progress.update,
      onStart: (info) => {
        planned.num = info.plan.num
        planned.parameters = ditParameters(info.prepared.dit.config)
        for (const line of describeStart(info, device.summary)) progress.note(line)
        if (worker.count > 1)
          progress.note(
            `worker ${worker.index} of ${worker.count} (${worker.from}): ${plural(info.unitsLeft, 'unit')} to do`,
          )
      },
    })
    if (flags['dry-run']) {
      const plan = await dryRun(request)
      progress.finish(describeDryRun(plan))
      return plan
    }
    const result = await runGenerate(request)
    progress.finish(describeResult(result, flags.out))
    return {
      images: result.rows,
      newImages: result.newImages,
      num: planned.num,
      units: result.unitsDone,
      unitsTotal: result.unitsTotal,
      bytes: result.bytes,
      seconds: Number(result.seconds.toFixed(3)),
      imagesPerSecond: Number(result.imagesPerSecond.toFixed(4)),
      parameters: planned.parameters,
      device: device.kind,
      precision: device.precision,
      out: flags.out,
      extras: result.extras,
      complete: result.complete,
      interrupted: result.interrupted,
      exitReason: endWith(context, result.interrupted ? 'interrupted' : 'done'),
      peakMemoryBytes: result.peakMemoryBytes,
    }
  } finally {
    stop.release()
    progress.close()
  }
}

/** The flags under the names of the job. */
function generateOptions(flags: GenerateFlags): GenerateOptions {
  const { dit, heads, model, stats, sampler, steps, atol, rtol, num, classes, labels, seed, noise, grid } = flags
  return {
    ...{ dit, heads, model, stats, sampler, steps, atol, rtol, num, classes, labels, seed, noise, grid },
    ditConfig: flags['dit-config'],
    latentMultiplier: flags['latent-multiplier'],
    timestepShift: flags['timestep-shift'],
    cfgScale: flags['cfg-scale'],
    cfgIntervalStart: flags['cfg-interval-start'],
    cfgChannels: flags['cfg-channels'],
    controlGroup: flags['control-group'],
    latents: flags.latents && { format: flags.latents, dtype: flags['latents-dtype'] },
    shardRows: flags['shard-rows'],
    out: flags.out,
    overwrite: flags.overwrite,
    device: flags.device,
    precision: flags.precision,
    requireGpu: flags['require-gpu'],
    batchSize: flags['batch-size'],
    units: flags.units,
    helpOthers: flags['help-others'],
    sameProcessor: flags['same-processor'],
    npz: flags.npz,
  }
}

async function dryRun(options: GenerateRequest): Promise<GenerateDryRun> {
  const prepared = await prepareGenerate(options, true)
  const { plan, dit } = prepared
  await prepared.close()
  const perImage = modelRuns(plan.sampler) * (plan.guidance ? 2 : 1)
  return {
    num: plan.num,
    units: plan.units.length,
    dit: plan.dit.name,
    parameters: ditParameters(dit.config),
    model: plan.model.name,
    labels: plan.labels.mode,
    sampler: plan.sampler,
    guidance: plan.guidance,
    image: plan.image,
    teraflops: plan.sampler.adaptive ? null : Number(((perImage * ditFlops(dit.config)) / 1e12).toFixed(3)),
  }
}

const modelRuns = ({ method, steps }: { method: string; steps: number }): number =>
  (steps - 1) * (method === 'heun' ? 2 : 1)

function describeStart({ plan, resumed, unitsLeft, prepared }: GenerateInfo, device: string): string[] {
  const { sampler, guidance } = plan
  const count = formatCount(ditParameters(prepared.dit.config))
  const grid = `${sampler.method}, ${sampler.steps} points of time${sampler.timestepShift > 0 ? `, shift ${sampler.timestepShift}` : ''}`
  const guided = guidance
    ? `guidance ${guidance.scale}${guidance.intervalStart > 0 ? ` from t = ${guidance.intervalStart}` : ''}`
    : 'no guidance'
  const lines = [
    `${plural(plan.num, 'image')} of ${plan.image.height}×${plan.image.width}, ${plan.labels.mode}, in ${plural(plan.units.length, 'unit')}`,
    `${plan.dit.name}, ${count} parameters · decoder ${plan.model.name} · ${grid} · ${guided} · ${device}`,
  ]
  if (unitsLeft === 0) lines.push('Nothing is left to do: every unit is committed.')
  else if (resumed) lines.push(`Continuing: ${formatCommitted(plan.units.length - unitsLeft, plan.units.length)}.`)
  return lines
}

function describeResult(result: GenerateResult, out: string): string[] {
  const rate = result.newImages > 0 ? ` at ${formatRate(result.imagesPerSecond, 'images/s')}` : ''
  const lines = [
    `${plural(result.rows, 'image')}, ${result.unitsDone}/${plural(result.unitsTotal, 'unit')}, ${formatBytes(result.bytes)} in ${out} · ${formatDuration(result.seconds)}${rate}`,
  ]
  if (result.extras.length > 0) lines.push(`also ${result.extras.map((name) => `${out}/${name}`).join(', ')}`)
  if (result.interrupted) lines.push('Interrupted. Run the same command again to continue.')
  else if (!result.complete)
    lines.push('Units of other workers are not committed yet; the last worker writes the manifest.')
  return lines
}

function describeDryRun(plan: GenerateDryRun): string[] {
  const lines = [
    'Dry run: nothing was written.',
    `  images    ${formatCount(plan.num)} of ${plan.image.height}×${plan.image.width} in ${plural(plan.units, 'unit')}, ${plan.labels}`,
    `  model     ${plan.dit}, ${formatCount(plan.parameters)} parameters; decoder ${plan.model}`,
    `  sampler   ${JSON.stringify(plan.sampler)}`,
    `  guidance  ${plan.guidance ? JSON.stringify(plan.guidance) : 'none'}`,
  ]
  if (plan.teraflops !== null) lines.push(`  work      ${plan.teraflops} TFLOP per image at most`)
  return lines
}

/**
 * `--config FILE` may name one of the reference's configuration files, whose keys are not flags: it is then
 * taken as --dit-config. Returns the arguments as they are meant.
 */
export async function recipeFromConfig(argv: readonly string[]): Promise<string[]> {
  const out = [...argv]
  for (let i = 0; i < out.length && out[i] !== '--'; i++) {
    const joined = /^--config=(.+)$/.exec(out[i]!)
    const file = joined?.[1] ?? (out[i] === '--config' ? out[i + 1] : undefined)
    if (file === undefined || !(await isRecipe(file))) continue
    out.splice(i, joined ? 1 : 2, '--dit-config', file)
  }
  return out
}
