/** The pairs of an evaluation as PNG files, in the folders that the official script makes. */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { encodePng } from '../../image/png.js'
import type { ComparedBatch } from '../pairs/compare.js'

/** Where images are saved, as the official script names them. */
const SAVED = [
  { folder: 'reference', prefix: 'ref' },
  { folder: 'reconstructed', prefix: 'rec' },
] as const

/** An evaluation that begins anew leaves no images of the one before. */
export async function removeSaved(out: string): Promise<void> {
  for (const { folder, prefix } of SAVED) {
    const names = await readdir(path.join(out, folder)).catch(() => [])
    const ours = names.filter((name) => name.startsWith(`${prefix}_`) && /^\w{3}_\d{6,}\.png$/.test(name))
    await Promise.all(ours.map((name) => rm(path.join(out, folder, name), { force: true })))
  }
}

/** Writes a batch's pairs; `first` is the number of its first image. */
export async function saveImages(
  out: string,
  first: number,
  { reference, reconstruction }: ComparedBatch,
  { count, height, width }: { count: number; height: number; width: number },
): Promise<void> {
  const bytes = height * width * 3
  for (const { folder, prefix } of SAVED) {
    const pixels = folder === 'reference' ? reference : reconstruction
    await mkdir(path.join(out, folder), { recursive: true })
    await Promise.all(
      Array.from({ length: count }, async (_, i) => {
        const png = await encodePng({ data: pixels.subarray(i * bytes, (i + 1) * bytes), height, width })
        await writeFile(path.join(out, folder, `${prefix}_${String(first + i).padStart(6, '0')}.png`), png)
      }),
    )
  }
}
