/** The images of a finished generation run as a set for the metrics; a run with holes is refused. */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { usageError, VtpError } from '../errors.js'
import { openStore } from '../io/open-store.js'
import { uriScheme } from '../io/store.js'
import { committedUnits } from '../pipeline/ledger/commits.js'
import { sampleImageName } from '../pipeline/ledger/layout.js'
import { type GeneratePlan, loadGeneratePlan } from './plan.js'

export interface SampleSet {
  plan: GeneratePlan
  /** One line per image, in order: its path or address. */
  lines(): AsyncGenerator<Buffer>
  /** How the images came to be, for the protocol. */
  description: string
}

/**
 * The set in a folder or bucket; undefined where no run of `vtp generate` is (images of other origin). Throws
 * usage error `run_incomplete`.
 */
export async function openSampleSet(dest: string): Promise<SampleSet | undefined> {
  const local = uriScheme(dest) === undefined
  if (local && !(await stat(dest).catch(() => undefined))?.isDirectory()) return undefined
  if (!local && (uriScheme(dest) !== 's3' || /[*?{]|\.(npz|tar|txt|jsonl|parquet|arrow|safetensors)$/i.test(dest)))
    return undefined
  const store = await openStore(dest)
  try {
    const plan = await loadGeneratePlan(store).catch((error) => {
      // Shards of `vtp encode` with pixels are images, too.
      if (error instanceof VtpError && error.code === 'other_plan') return undefined
      throw error
    })
    if (!plan) return undefined
    const done = await committedUnits(store)
    const there = plan.units.reduce((sum, { rows }, unit) => sum + (done.has(unit) ? rows : 0), 0)
    if (there < plan.num) {
      throw usageError('run_incomplete', `${dest} holds ${there} of ${plan.num} images: the run is not finished`, [
        'run the same `vtp generate` command again to finish it',
      ])
    }
    const base = uriScheme(dest) === undefined ? path.resolve(dest) : dest.replace(/\/+$/, '')
    async function* lines(): AsyncGenerator<Buffer> {
      for (let i = 0; i < plan!.num; i++) yield Buffer.from(`${base}/${sampleImageName(i)}\n`)
    }
    return { plan, lines, description: describePlan(plan) }
  } finally {
    await store.close()
  }
}

/** The lists of the sets that are runs of `vtp generate`, by what the user called them. */
export function sampleLists(
  sets: Readonly<Record<string, SampleSet | undefined>>,
): ReadonlyMap<string, () => AsyncGenerator<Buffer>> {
  return new Map(Object.entries(sets).flatMap(([spec, set]) => (set ? [[spec, set.lines]] : [])))
}

function describePlan({ num, dit, model, sampler, guidance, labels, noise, precision }: GeneratePlan): string {
  const steps = sampler.adaptive ? `rtol ${sampler.adaptive.rtol}, atol ${sampler.adaptive.atol}` : `${sampler.steps}`
  const shift = sampler.timestepShift > 0 ? `, shift ${sampler.timestepShift}` : ''
  const guided = guidance
    ? `guidance ${guidance.scale} on ${guidance.channels} channels from t = ${guidance.intervalStart}`
    : 'no guidance'
  return `${num} samples of ${dit.name}, decoded by ${model.name}; ${sampler.method} ${steps}${shift}; ${guided}; classes ${labels.mode}; ${noise}; ${precision}`
}
