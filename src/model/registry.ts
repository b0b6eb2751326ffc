/** Every family of models, and which of them a checkpoint belongs to. A new family is one line here. */
import { EXIT, VtpError } from '../errors.js'
import { missingFile } from '../io/weights.js'
import { clip } from './clip/family.js'
import { dinov2 } from './dinov2/family.js'
import type { Candidate, Claim, Family } from './family.js'
import { mae } from './mae/family.js'
import { rae } from './rae/family.js'
import { siglip } from './siglip/family.js'
import { unitok } from './unitok/family.js'
import { vavae } from './vavae/family.js'
import { vilau } from './vilau/family.js'
import { vtp } from './vtp/family.js'

export const FAMILIES: Family[] = [vtp, rae, clip, siglip, dinov2, mae, vavae, unitok, vilau]

export interface Recognised {
  family: Family
  claim: Claim
}

/** The family that claims a checkpoint: the first of the list; undefined where none does. */
export async function recognise(
  candidate: Candidate,
  families: readonly Family[] = FAMILIES,
): Promise<Recognised | undefined> {
  for (const family of families) {
    const claim = await family.claim(candidate)
    if (claim) return { family, claim }
  }
  return undefined
}

/** The error for a checkpoint that nobody claims: what it is, as far as it says. */
export async function unknownCheckpoint(candidate: Candidate, families = FAMILIES): Promise<Error> {
  const damaged = await readingError(candidate)
  if (damaged) return damaged
  const known = `known are ${families.map(({ title }) => title).join('; ')}`
  if (candidate.file === undefined && !candidate.files.includes('config.json')) {
    return missingFile(candidate.ref, `config.json (nor another checkpoint: ${known})`)
  }
  const type = (await candidate.readJson('config.json'))?.model_type
  const seen =
    candidate.file !== undefined
      ? `${candidate.ref} is not a checkpoint of a known architecture`
      : `${candidate.ref}/config.json describes another architecture (${type === undefined ? 'no model_type' : `model_type ${JSON.stringify(type)}`})`
  return new VtpError(seen, {
    code: 'wrong_architecture',
    exitCode: EXIT.usage,
    suggestions: [known, 'give e.g. MiniMaxAI/VTP-Large-f16d64'],
  })
}

/** Why the one file of weights that there is cannot be read: it says more than that nobody knows it. */
async function readingError({ file, files, readShapes }: Candidate): Promise<VtpError | undefined> {
  const weights =
    file !== undefined ? [file] : files.filter((name) => /^[^/]+\.(pt|pth|ckpt|bin|safetensors)$/i.test(name))
  if (weights.length !== 1 || (file !== undefined && !/\.(pt|pth|ckpt|bin|safetensors)$/i.test(file))) return undefined
  return readShapes(weights[0]!).then(
    () => undefined,
    (error: unknown) => (error instanceof VtpError ? error : undefined),
  )
}
