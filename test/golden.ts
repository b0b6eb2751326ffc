import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

/** A path inside the reference data, which lies beside the project (or where VTP_GOLDEN says). */
export function goldenPath(...parts: string[]): string {
  return path.resolve(process.env.VTP_GOLDEN ?? path.resolve(root, '..', 'shared', 'golden'), ...parts)
}
