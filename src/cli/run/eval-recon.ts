/** `vtp eval-recon` between its flags and the evaluation: files of --out, report, what is printed. */

import path from 'node:path'
import { reconRequest } from '../../api/evaluation-requests.js'
import { usageError, VtpError } from '../../errors.js'
import type { StateOptions } from '../../metrics/pass/state.js'
import { evaluateReconstruction } from '../../metrics/recon/evaluate.js'
import { writePerImage } from '../../metrics/recon/per-image.js'
import { writeReport } from '../../metrics/recon/report.js'
import type { ReconResult } from '../../metrics/recon/request.js'
import type { Reject } from '../../types.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { EVAL_RECON_FLAGS } from '../flags/eval-flags.js'
import { formatDuration, formatRate, formatTable, plural } from '../terminal/format.js'
import { endEvaluation, formatNumber, openEvalContext, TOLD, writeJsonFile } from './eval-context.js'
import type { ExitReason } from './exit-reason.js'

export interface EvalReconFlags extends FlagValues<typeof EVAL_RECON_FLAGS> {
  source: string
  /** As in `StateOptions`. */
  kept?: StateOptions['kept']
}

/** The stable object of `--json`. */
export interface EvalReconJson extends ReconResult {
  out: string | null
  report: string | null
  exitReason: ExitReason
  peakMemoryBytes: number
}

export async function runEvalRecon(context: CommandContext, flags: EvalReconFlags): Promise<EvalReconJson> {
  if (flags['save-images'] && flags.out === undefined)
    throw usageError('out_missing', '--save-images needs --out, the folder to write to', ['add --out DIR'])
  const run = openEvalContext(context, flags)
  const { progress } = run
  let rejects: Reject[] = []
  try {
    const request = reconRequest(
      {
        ...run.options,
        source: flags.source,
        model: flags.model,
        metrics: flags.metrics,
        transform: flags.transform,
        decoderPrecision: flags['decoder-precision'],
        protocolBatch: flags['protocol-batch'],
        out: flags.out,
        saveImages: flags['save-images'],
        overwrite: flags.overwrite,
        kept: flags.kept,
      },
      run.device,
    )
    const result = await evaluateReconstruction(request, async (done, engine, folder) => {
      rejects = await folder.firstRejects(TOLD)
      if (flags.out !== undefined) {
        await writePerImage(folder, path.join(flags.out, 'per-image.parquet'))
        await writeJsonFile(path.join(flags.out, 'results.json'), done)
      }
      if (flags.report === undefined) return
      progress.note('Making the report.')
      await writeReport(done, engine, folder, { file: flags.report, seed: flags.seed })
    })
    const exitReason = endEvaluation(context, result, rejects, flags['max-bad'])
    if (!result.interrupted) progress.finish(describe(flags, result))
    return {
      ...result,
      out: flags.out ?? null,
      report: flags.report ?? null,
      exitReason,
      peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
    }
  } catch (error) {
    throw withoutNetworks(error, flags.metrics)
  } finally {
    run.close()
  }
}

/** Who has no weights can still measure what needs none. */
function withoutNetworks(error: unknown, metrics: readonly string[]): unknown {
  if (!(error instanceof VtpError) || !error.code.startsWith('weights_')) return error
  const left = metrics.filter((metric) => metric === 'psnr' || metric === 'ssim')
  const { message, code, exitCode, suggestions } = error
  const also = `or measure what needs no weights: --metrics ${left.length > 0 ? left.join(',') : 'psnr,ssim'}`
  return new VtpError(message, { code, exitCode, suggestions: [...suggestions, also], cause: error })
}

function describe(flags: EvalReconFlags, result: ReconResult): string[] {
  const lines = [...reconTable(result), `protocol: ${result.protocol}`]
  if (flags.out !== undefined) lines.push(`results.json and per-image.parquet are in ${flags.out}`)
  if (flags.report !== undefined) lines.push(`report: ${flags.report}`)
  const rate = formatRate(result.images / Math.max(result.seconds, 1e-3), 'images/s')
  lines.push(`${plural(result.images, 'image')} · ${formatDuration(result.seconds)} · ${rate}`)
  return lines
}

function reconTable(result: ReconResult): string[] {
  const rows: string[][] = []
  if (result.rfid !== undefined) rows.push(['rFID', formatNumber(result.rfid)])
  if (result.psnr !== undefined) rows.push(['PSNR', result.psnr === null ? 'inf' : `${result.psnr.toFixed(3)} dB`])
  if (result.psnr === null) rows.push(['', plural(result.identical ?? 0, 'image is identical', 'images are identical')])
  if (result.ssim !== undefined) rows.push(['SSIM', formatNumber(result.ssim)])
  if (result.lpips !== undefined) rows.push(['LPIPS', formatNumber(result.lpips)])
  return formatTable(rows)
}
