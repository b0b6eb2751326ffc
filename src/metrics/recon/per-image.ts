/** The per-image scores as Parquet: key, uri, label, psnr, ssim, lpips; row group by row group. */
import { fileWriter, ParquetWriter, schemaFromColumnData } from 'hyparquet-writer'
import { writeAtomically } from '../../io/atomic.js'
import { isReject, type Pass } from '../pass/pass.js'
import type { ReconRow } from './rows.js'

const GROUP_ROWS = 10_000

/** Writes the file; PSNR of identical images is infinity. */
export async function writePerImage(pass: Pick<Pass<ReconRow>, 'rows'>, file: string): Promise<void> {
  await writeAtomically(file, (tmp) => writeRows(pass, tmp))
}

async function writeRows(pass: Pick<Pass<ReconRow>, 'rows'>, file: string): Promise<void> {
  const schema = schemaFromColumnData({ columnData: columns([]) })
  const writer = new ParquetWriter({ writer: fileWriter(file), schema, createdBy: 'vtp' })
  let held: ReconRow[] = []
  const flush = async (): Promise<void> => {
    if (held.length > 0) await writer.write({ columnData: columns(held), rowGroupSize: GROUP_ROWS })
    held = []
  }
  for await (const row of pass.rows()) {
    if (isReject(row)) continue
    held.push(row)
    if (held.length === GROUP_ROWS) await flush()
  }
  await flush()
  await writer.finish()
}

function columns(rows: ReconRow[]) {
  const score = (name: 'psnr' | 'ssim' | 'lpips') => ({
    name,
    type: 'DOUBLE' as const,
    nullable: true,
    data: rows.map((row) => (name === 'psnr' && row.psnr === null ? Number.POSITIVE_INFINITY : row[name])),
  })
  return [
    { name: 'key', type: 'STRING' as const, nullable: false, data: rows.map((row) => row.entry.key) },
    { name: 'uri', type: 'STRING' as const, nullable: false, data: rows.map((row) => row.entry.uri) },
    { name: 'label', type: 'INT32' as const, nullable: true, data: rows.map((row) => row.entry.label) },
    score('psnr'),
    score('ssim'),
    score('lpips'),
  ]
}
