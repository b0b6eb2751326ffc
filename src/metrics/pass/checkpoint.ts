/**
 * A checkpoint on disk: one line of JSON, then arrays of numbers one after the other, as they lie in
 * memory. It replaces the one before atomically and is durable when `writeCheckpoint` returns.
 */
import { open, readFile } from 'node:fs/promises'
import { errorText, systemCode, VtpError } from '../../errors.js'
import { writeAtomically } from '../../io/atomic.js'

export type NumberArrays = Record<string, Float32Array | Float64Array>

export interface Checkpoint<Head> {
  head: Head
  arrays: NumberArrays
}

const TYPES = { float32: Float32Array, float64: Float64Array }

interface ArrayEntry {
  name: string
  dtype: keyof typeof TYPES
  length: number
}

export async function writeCheckpoint(file: string, { head, arrays }: Checkpoint<object>): Promise<void> {
  const entries = Object.entries(arrays).map(
    ([name, { length, BYTES_PER_ELEMENT }]): ArrayEntry => ({
      name,
      dtype: BYTES_PER_ELEMENT === 4 ? 'float32' : 'float64',
      length,
    }),
  )
  await writeAtomically(file, async (tmp) => {
    const handle = await open(tmp, 'w')
    try {
      await handle.appendFile(`${JSON.stringify({ head, arrays: entries })}\n`)
      for (const { buffer, byteOffset, byteLength } of Object.values(arrays))
        await handle.appendFile(new Uint8Array(buffer, byteOffset, byteLength))
    } finally {
      await handle.close()
    }
  })
}

/** Undefined when there is none. Throws VtpError `evaluation_damaged`. */
export async function readCheckpoint<Head>(file: string): Promise<Checkpoint<Head> | undefined> {
  const bytes = await readFile(file).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  })
  if (!bytes) return undefined
  try {
    const end = bytes.indexOf(10)
    const { head, arrays } = JSON.parse(bytes.toString('utf8', 0, end)) as { head: Head; arrays: ArrayEntry[] }
    let at = end + 1
    const read: NumberArrays = {}
    for (const { name, dtype, length } of arrays) {
      const type = TYPES[dtype]
      // A copy of its own, because numbers must lie at multiples of their size.
      const part = Uint8Array.from(bytes.subarray(at, at + length * type.BYTES_PER_ELEMENT))
      read[name] = new type(part.buffer)
      at += length * type.BYTES_PER_ELEMENT
    }
    if (at !== bytes.length) throw new Error(`it has ${bytes.length} bytes, ${at} expected`)
    return { head, arrays: read }
  } catch (error) {
    throw damaged(file, errorText(error), error)
  }
}

/** What is on disk does not fit together. */
export function damaged(file: string, why: string, cause?: unknown): VtpError {
  return new VtpError(`${file} is damaged, or of another version: ${why}`, {
    code: 'evaluation_damaged',
    suggestions: ['start anew: pass --overwrite where the command has it, or delete the folder'],
    cause,
  })
}

/** Arrays under longer names, for several parts of one checkpoint. */
export function withPrefix(prefix: string, arrays: NumberArrays): NumberArrays {
  return Object.fromEntries(Object.entries(arrays).map(([name, values]) => [`${prefix}.${name}`, values]))
}

/** The arrays that `withPrefix` named so, under their own names; undefined when there are none. */
export function underPrefix(prefix: string, arrays: NumberArrays | undefined): NumberArrays | undefined {
  const found = Object.entries(arrays ?? {}).filter(([name]) => name.startsWith(`${prefix}.`))
  if (found.length === 0) return undefined
  return Object.fromEntries(found.map(([name, values]) => [name.slice(prefix.length + 1), values]))
}
