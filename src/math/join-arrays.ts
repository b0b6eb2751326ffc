/** Arrays one after the other, in new memory. */
export function joinArrays<T extends Uint8Array | Float32Array>(
  parts: readonly ArrayLike<number>[],
  Kind: new (length: number) => T,
): T {
  const out = new Kind(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** Float32 arrays one after the other, in new memory. */
export const joinFloats = (parts: readonly Float32Array[]): Float32Array => joinArrays(parts, Float32Array)
