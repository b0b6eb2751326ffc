/**
 * The latents of a training as the reference's loader reads them: safetensors with latents, latents_flip and labels,
 * and latents_stats.pt beside them. Local shards of that form are linked; others are written anew.
 */
import { link, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { settle, writeAtomically } from '../../io/atomic.js'
import { makeFolder } from '../../io/make-folder.js'
import { openShard, openShardWriter, shardName } from '../../io/shards/index.js'
import { storageError } from '../../io/storage-error.js'
import { uriScheme } from '../../io/store.js'
import { encodeLatentsStats } from '../../io/torch-stats.js'
import { LATENTS_STATS } from '../../pipeline/ledger/layout.js'
import type { PreparedTrain } from '../prepare.js'
import { BATCH_ROWS } from '../row-files.js'

export interface ExportedData {
  shards: number
  /** Shards that are links to those of LATENTS. */
  linked: number
}

/** Writes `folder`. Throws VtpErrors of reading and writing. */
export async function exportData(
  folder: string,
  { rows, stats }: PreparedTrain,
  stop?: AbortSignal,
): Promise<ExportedData> {
  await makeFolder(path.resolve(folder))
  const found: ExportedData = { shards: 0, linked: 0 }
  for (const [unit, file] of rows!.files.entries()) {
    stop?.throwIfAborted()
    const isDirect = rows!.hasFlips && uriScheme(file) === undefined && file.endsWith('.safetensors')
    if (isDirect) await linkShard(file, path.join(folder, shardName('safetensors', unit)))
    else await convertShard(file, unit, folder, stop)
    found.shards++
    if (isDirect) found.linked++
  }
  if (stats) {
    const bytes = encodeLatentsStats(stats.mean, stats.std)
    await writeAtomically(path.join(folder, LATENTS_STATS), (tmp) => writeFile(tmp, bytes))
  }
  return found
}

/** A hard link, which moves with the folder; on another disk a symbolic one. */
async function linkShard(file: string, target: string): Promise<void> {
  const source = path.resolve(file)
  await link(source, target).catch(() =>
    symlink(source, target).catch((error: unknown) => {
      throw storageError('Cannot link', target, error)
    }),
  )
}

async function convertShard(file: string, unit: number, folder: string, stop?: AbortSignal): Promise<void> {
  const shard = await openShard(file)
  try {
    const latents = shard.columns.find(({ name }) => name === 'latents')!
    const hasFlips = shard.columns.some(({ name }) => name === 'latents_flip')
    const columns = [latents, { ...latents, name: 'latents_flip' }]
    const spec = { format: 'safetensors' as const, columns, captions: false, provenance: shard.provenance }
    const writer = await openShardWriter(spec, unit, folder, shard.rows)
    try {
      for await (const { rows, tensors } of shard.read(
        hasFlips ? ['latents', 'latents_flip'] : ['latents'],
        BATCH_ROWS,
      )) {
        stop?.throwIfAborted()
        // The loader takes either at random, and fails without one of them.
        const flips = tensors.latents_flip ?? tensors.latents!
        await writer.append({ rows, tensors: { latents: tensors.latents!, latents_flip: flips } })
      }
    } catch (error) {
      await writer.abort()
      throw error
    }
    for (const { path: written, name } of (await writer.finish()).files) await settle(written, path.join(folder, name))
  } finally {
    await shard.close()
  }
}
