/** Which files of a checkpoint are needed: what its family claims, and the shards that an index among them lists. */
import path from 'node:path'
import { indexedShards, missingFile } from '../io/weights.js'
import type { Candidate } from './family.js'
import { recognise, unknownCheckpoint } from './registry.js'

/** In the order in which they are best downloaded: weights last. Throws VtpErrors `wrong_architecture`, `model_incomplete`, `bad_index`. */
export async function neededFiles(candidate: Candidate): Promise<string[]> {
  const found = await recognise(candidate)
  if (!found) throw await unknownCheckpoint(candidate)
  const needed = new Set<string>()
  for (const name of found.claim.files) {
    needed.add(name)
    if (!name.endsWith('.index.json')) continue
    const folder = path.posix.dirname(name)
    for (const shard of indexedShards((await candidate.readText(name)) ?? '', `${candidate.ref}/${name}`))
      needed.add(path.posix.join(folder, shard))
  }
  const missing = [...needed].find((name) => !candidate.files.includes(name))
  if (missing !== undefined) throw missingFile(candidate.ref, missing)
  return [...needed]
}
