/** What decoders on the calling thread are compared by with sharp's. */
import { DEFAULT_LIMITS, type DecodePlace, decodeImage } from '../../src/image/decode.js'
import { RejectError } from '../../src/types.js'
import { seededRandom } from './mutants.js'

/** What becomes of a file: its pixels, or the code of its reject. */
export async function outcome(bytes: Uint8Array, place: DecodePlace): Promise<Buffer | string> {
  try {
    return Buffer.from((await decodeImage(bytes, DEFAULT_LIMITS, place)).data)
  } catch (error) {
    if (error instanceof RejectError) return error.code
    throw error
  }
}

/** Noise, or a slope with noise on it. */
export function pixelsOf(width: number, height: number, seed: number, noise: number): Uint8Array {
  const random = seededRandom(seed)
  return Uint8Array.from(
    { length: width * height * 3 },
    (_, i) => ((i * 3) % 256) * (1 - noise) + random() * 255 * noise,
  )
}
