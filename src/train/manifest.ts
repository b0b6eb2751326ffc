/** `_manifest.json` of a training that is done: what is there, and how it came to be. It holds no times. */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { LATENTS_STATS } from '../pipeline/ledger/layout.js'
import { LOG, listCheckpoints } from './folder.js'
import type { TrainPlan } from './plan.js'

export async function trainManifest(
  dest: string,
  plan: TrainPlan,
  { step, parameters }: { step: number; parameters: number },
): Promise<object> {
  const files: { name: string; bytes: number }[] = []
  for (const { name } of await listCheckpoints(dest, '.pt'))
    files.push({ name, bytes: (await stat(path.join(dest, name))).size })
  const { hash, vtp, processor, recipe: _, ...settings } = plan
  return {
    version: 1,
    kind: plan.kind,
    plan: hash,
    step,
    images: step * plan.batch,
    parameters,
    checkpoint: files.at(-1)?.name ?? null,
    files,
    log: LOG,
    statistics: plan.stats ? LATENTS_STATS : null,
    provenance: { ...settings, vtp },
    processors: processor === undefined ? [] : [processor],
  }
}
