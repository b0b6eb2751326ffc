/**
 * Fixed tables of LightningDiT in the reference's arithmetic: RoPE over pairs of neighbours
 * (models/pos_embed.py, VisionRotaryEmbeddingFast) and the frequencies of the time embedding
 * (models/lightningdit.py, TimestepEmbedder).
 */
const f32 = Math.fround

export interface DitRope {
  /** [L, d/2]: one angle per pair of neighbours; the row's pairs first, then the column's. */
  cos: Float32Array
  sin: Float32Array
}

/** Tables for a grid of side × side tokens and heads of `headDim`. */
export function ditRope(side: number, headDim: number): DitRope {
  const half = headDim / 2
  const pairs = half / 2 // per axis
  const frequencies = Array.from({ length: pairs }, (_, i) => f32(1 / f32(10000 ** f32((2 * i) / half))))
  const cos = new Float32Array(side * side * half)
  const sin = new Float32Array(side * side * half)
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const base = (y * side + x) * half
      for (let i = 0; i < pairs; i++) {
        for (const [at, position] of [
          [i, y],
          [pairs + i, x],
        ] as const) {
          const angle = f32(position * frequencies[i]!)
          cos[base + at] = Math.cos(angle)
          sin[base + at] = Math.sin(angle)
        }
      }
    }
  }
  return { cos, sin }
}

/** [128]: exp(-ln(10000) · i / 128) in float32. */
export function timeFrequencies(): Float32Array {
  const scale = f32(-Math.log(10000))
  return Float32Array.from({ length: 128 }, (_, i) => Math.exp(f32(f32(scale * i) / 128)))
}
