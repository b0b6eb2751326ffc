/**
 * What makes two evaluations the same, so that one may continue what the other began: everything that decides
 * the numbers. In the cache that includes the very files; a folder that the user names is only ever offered to
 * the evaluation that it was named for, and its data set may have been copied anew.
 */
import type { Device } from '../../engine/device.js'
import type { ImageModel, Precision } from '../../model/index.js'
import { engineVersion } from '../../version.js'
import type { PreparedSet } from './prepared-set.js'

export interface IdentityPlace {
  /** The user's folder; the cache otherwise. */
  dir?: string
  /** Changes with the files themselves; called only for the cache. */
  stamp: () => string | Promise<string>
}

/** `what` names the kind of work, `decides` lists whatever its numbers depend on; the engine is added. */
export async function evaluationIdentity(
  what: string,
  decides: Record<string, unknown>,
  { dir, stamp }: IdentityPlace,
): Promise<Record<string, unknown>> {
  const identity = { what, ...decides, engine: engineVersion() }
  return dir === undefined ? { ...identity, stamp: await stamp() } : identity
}

/** What the pass of a model over images depends on. */
export function modelOverSet(
  model: ImageModel,
  set: PreparedSet,
  { maxPixels, precision, device }: { maxPixels: number; precision: Precision; device: Device },
): Record<string, unknown> {
  return {
    source: set.uri,
    listing: set.digest,
    images: set.total,
    maxPixels,
    model: model.digest,
    transform: set.transform.spec,
    precision,
    device: device.kind,
  }
}
