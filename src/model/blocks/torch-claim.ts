/**
 * Checkpoints that are one file of weights without a configuration, as research code publishes them: recognised by
 * the shapes of their tensors, or by the file's name where it is not here yet. `hub.json` beside it may say what
 * shapes do not (the number of heads).
 */
import path from 'node:path'
import { usageError } from '../../errors.js'
import type { Candidate, Claim } from '../family.js'

export const HUB_CONFIG = 'hub.json'

export interface TorchClaim {
  /** The names that its authors give such files. */
  named: RegExp
  /** Where the state dict may be, best first. */
  keys: string[]
  /** Whether tensors of these shapes are the family's. */
  isMine(shapes: ReadonlyMap<string, readonly number[]>): boolean
}

const WEIGHTS = /^[^/]+\.(pth|pt|ckpt|bin|safetensors)$/i

/** The file of weights that the candidate is, or that its folder holds; undefined where none is the family's. */
export async function claimTorchFile(
  candidate: Candidate,
  { named, keys, isMine }: TorchClaim,
): Promise<Claim | undefined> {
  const files = candidate.file !== undefined ? [candidate.file] : candidate.files.filter((name) => WEIGHTS.test(name))
  const likely = files.filter((name) => named.test(path.posix.basename(name)))
  if (likely.length > 1 && candidate.file === undefined) throw severalCheckpoints(candidate, likely)
  for (const name of likely.length > 0 ? likely : files.length === 1 ? files : []) {
    const shapes = await candidate.readShapes(name, keys).catch((error: unknown) => {
      // A damaged file with the family's name is its business; another file may be anybody's.
      if (likely.length > 0) throw error
      return undefined
    })
    if (shapes ? isMine(shapes) : likely.includes(name)) {
      return { files: [...(candidate.files.includes(HUB_CONFIG) ? [HUB_CONFIG] : []), name] }
    }
  }
  return undefined
}

/** The error where a folder holds several checkpoints of the family: nobody chooses in silence. */
function severalCheckpoints({ ref }: Candidate, names: string[]): Error {
  return usageError('several_checkpoints', `${ref} holds ${names.length} checkpoints: ${names.join(', ')}`, [
    `name one file, e.g. ${names[0]} in a folder, or hf://ORG/NAME/${names[0]} on the hub`,
  ])
}

/** A number of `hub.json`; undefined where it does not say. */
export function hubNumber(hub: Record<string, unknown> | undefined, key: string): number | undefined {
  const value = hub?.[key]
  return typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 1e6 ? value : undefined
}

/** How many blocks a checkpoint has: the numbers behind `prefix.`. */
export function countBlocks(names: Iterable<string>, prefix: string): number {
  let count = 0
  for (const name of names) {
    if (!name.startsWith(`${prefix}.`)) continue
    const index = Number(name.slice(prefix.length + 1).split('.')[0])
    if (Number.isInteger(index)) count = Math.max(count, index + 1)
  }
  return count
}
