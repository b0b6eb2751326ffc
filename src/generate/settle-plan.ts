/**
 * Which plan a DEST has: its own where it is the same, else the new one. A plan of fewer images is followed by one of
 * more: sample i does not depend on how many there are, so what is committed stays, the new plan keeps the old units,
 * and further images are further units. Each plan has one successor, which is stored before it takes its place.
 */
import { usageError } from '../errors.js'
import type { Store } from '../io/store.js'
import { isSampleImage, MANIFEST, PLAN, successorName } from '../pipeline/ledger/layout.js'
import { claimPlan } from '../pipeline/ledger/plan.js'
import { labelsDigest } from './labels.js'
import { assertSame, type GeneratePlan, loadGeneratePlan, sameButNumber, unitsOf } from './plan.js'

/**
 * The plan that counts. `labels` are the classes of all samples of `plan`. Throws usage errors `other_plan`, and
 * `dest_in_use` for a folder with images of unknown origin.
 */
export async function settlePlan(
  store: Store,
  plan: GeneratePlan,
  { dest, labels }: { dest: string; labels: Int32Array },
): Promise<{ plan: GeneratePlan; resumed: boolean }> {
  let stored = await loadGeneratePlan(store)
  while (stored && canGrow(stored, plan, labels)) stored = await storeSuccessor(store, stored, plan)
  if (stored) {
    assertSame(stored, plan, dest)
    return { plan: stored, resumed: true }
  }
  for await (const { name } of store.list('')) {
    if (!isSampleImage(name)) continue
    throw usageError('dest_in_use', `${dest} holds images such as ${name} that no run of vtp has made`, [
      'choose another --out folder',
    ])
  }
  const check = (there: GeneratePlan): void => assertSame(there, plan, dest)
  return { plan: await claimPlan(store, plan, () => loadGeneratePlan(store), check), resumed: false }
}

/** Whether `plan` is that of `there` with more images, and these are the first of its images. */
function canGrow(there: GeneratePlan, plan: GeneratePlan, labels: Int32Array): boolean {
  // Samples that share a step size must stay together.
  const group = there.sampler.adaptive?.group ?? 1
  return (
    plan.num > there.num &&
    there.num % group === 0 &&
    sameButNumber(there, plan) &&
    labelsDigest(labels.subarray(0, there.num)) === there.labels.sha256
  )
}

/** Returns the successor of `there` that counts: another process may have stored one of another number. */
async function storeSuccessor(store: Store, there: GeneratePlan, plan: GeneratePlan): Promise<GeneratePlan> {
  const grown: GeneratePlan = {
    ...plan,
    grewFrom: [...(there.grewFrom ?? []), there.hash],
    units: [...there.units, ...unitsOf(plan.num - there.num, plan.shardRows)],
  }
  const name = successorName(there.hash)
  const isFirst = await store.putIfAbsent(name, Buffer.from(`${JSON.stringify(grown)}\n`))
  const next = isFirst ? grown : ((await loadGeneratePlan(store, name)) ?? grown)
  if ((await loadGeneratePlan(store))?.hash === there.hash) {
    // What was made of fewer images must not pass for the result.
    await store.delete(MANIFEST)
    await store.put(PLAN, Buffer.from(`${JSON.stringify(next)}\n`))
  }
  return next
}
