/**
 * The report of an evaluation: one HTML page that holds everything it shows. Pictures are made anew from
 * the source, only for the images that are shown, and embedded without loss.
 */
import { writeFile } from 'node:fs/promises'
import sharp from 'sharp'
import { heatMap } from '../../image/heat-map.js'
import { writeAtomically } from '../../io/atomic.js'
import type { RgbImage } from '../../types.js'
import type { Pass } from '../pass/pass.js'
import { type ReconEngine, reconstructBatch } from './engine.js'
import { type Distribution, describeDistribution, type ScoredEntry } from './histogram.js'
import { renderReport, type Shown } from './report-page.js'
import type { ReconResult } from './request.js'
import type { ReconRow } from './rows.js'

/** Differences of this many levels and more have the heat map's last colour. */
export const HEAT_FULL = 64
const ENDS = 6
const SAMPLE = 24

export interface ReportOptions {
  file: string
  seed: number
}

export async function writeReport(
  result: ReconResult,
  engine: ReconEngine,
  pass: Pass<ReconRow>,
  options: ReportOptions,
): Promise<void> {
  const distribution = await describeDistribution(pass, { ends: ENDS, sample: SAMPLE, seed: options.seed })
  const show = (rows: ScoredEntry[], withHeat: boolean): Promise<Shown[]> => showRows(rows, engine, withHeat)
  const pictures = distribution && {
    worst: await show(distribution.worst, true),
    best: await show(distribution.best, true),
    sample: await show(distribution.sample, false),
  }
  const html = renderReport({
    result,
    distribution: distribution as Distribution | undefined,
    pictures,
    heatFull: HEAT_FULL,
    seed: options.seed,
  })
  await writeAtomically(options.file, (tmp) => writeFile(tmp, html))
}

async function showRows(rows: ScoredEntry[], engine: ReconEngine, withHeat: boolean): Promise<Shown[]> {
  const { height, width } = engine.set.transform
  const shown: Shown[] = []
  for (let at = 0; at < rows.length; at += 4) {
    const part = rows.slice(at, at + 4)
    const batch = await engine.set.prepare(part.map(({ entry }) => entry))
    const compared = await reconstructBatch(engine, batch)
    batch.release()
    const bytes = height * width * 3
    const image = (pixels: Uint8Array, i: number): RgbImage => ({
      data: pixels.subarray(i * bytes, (i + 1) * bytes),
      height,
      width,
    })
    for (const [i, entry] of batch.entries.entries()) {
      const reference = image(compared.reference, i)
      const reconstruction = image(compared.reconstruction, i)
      shown.push({
        key: entry.key,
        scores: part.find((row) => row.entry === entry)!.scores,
        reference: await dataUri(reference),
        reconstruction: await dataUri(reconstruction),
        ...(withHeat ? { heat: await dataUri(heatMap(reference, reconstruction, HEAT_FULL)) } : {}),
      })
    }
  }
  return shown
}

async function dataUri({ data, width, height }: RgbImage): Promise<string> {
  const webp = await sharp(data, { raw: { width, height, channels: 3 } })
    .webp({ lossless: true, effort: 2 })
    .toBuffer()
  return `data:image/webp;base64,${webp.toString('base64')}`
}
