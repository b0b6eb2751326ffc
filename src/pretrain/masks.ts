/**
 * Which patches of which global crops the student does not see (DINOv2's MaskingGenerator and collate function). Draws
 * come from outside, in the reference's order, so that they can be replayed or be functions of seed and step.
 */
import { roundHalfEven } from '../image/round.js'
import type { Draws } from '../math/draws.js'

const TRIES = 10

export interface BlockSettings {
  /** Least and largest area of a block, in patches. */
  least?: number
  most?: number
  leastAspect?: number
}

/** A mask of `count` patches made of blocks, [h · w]; fewer where ten tries in a row fail. */
export function blockMask(
  { h, w }: { h: number; w: number },
  count: number,
  draws: Draws,
  { least = 4, most = count, leastAspect = 0.3 }: BlockSettings = {},
): Uint8Array {
  const mask = new Uint8Array(h * w)
  let masked = 0
  while (masked < count) {
    const added = addBlock(mask, { h, w }, { least, room: Math.min(count - masked, most), leastAspect }, draws)
    if (added === 0) break
    masked += added
  }
  return mask
}

function addBlock(
  mask: Uint8Array,
  { h, w }: { h: number; w: number },
  { least, room, leastAspect }: { least: number; room: number; leastAspect: number },
  draws: Draws,
): number {
  const logAspect = Math.log(1 / leastAspect)
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const area = draws.uniform(least, room)
    const aspect = Math.exp(draws.uniform(-logAspect, logAspect))
    const rows = roundHalfEven(Math.sqrt(area * aspect))
    const columns = roundHalfEven(Math.sqrt(area / aspect))
    if (columns >= w || rows >= h) continue
    const top = draws.integer(0, h - rows)
    const left = draws.integer(0, w - columns)
    const places: number[] = []
    for (let y = top; y < top + rows; y++)
      for (let x = left; x < left + columns; x++) if (mask[y * w + x] === 0) places.push(y * w + x)
    if (places.length === 0 || places.length > room) continue
    for (const place of places) mask[place] = 1
    return places.length
  }
  return 0
}

export interface CropMasks {
  /** [crops, N] */
  masks: Uint8Array
  /** Flat places of masked patches, rising. */
  indices: number[]
  /** Per masked patch 1 / (masked patches of its crop). */
  weights: Float32Array
}

export interface MaskSettings {
  /** Least and largest share of a masked crop's patches. */
  ratio: readonly [number, number]
  /** Share of crops that are masked. */
  probability: number
  /** Least area of a block, in patches; default 4. */
  least?: number
}

/** Masks of all global crops: shares of the masked ones are spread evenly over the range, then crops are shuffled. */
export function cropMasks(
  crops: number,
  grid: { h: number; w: number },
  { ratio, probability, least }: MaskSettings,
  draws: Draws,
): CropMasks {
  const size = grid.h * grid.w
  const count = Math.floor(crops * probability)
  const edges = linspace(ratio[0], ratio[1], count + 1)
  const made: Uint8Array[] = []
  for (let i = 0; i < crops; i++) {
    const wanted = i < count ? Math.trunc(size * draws.uniform(edges[i]!, edges[i + 1]!)) : 0
    made.push(blockMask(grid, wanted, draws, { most: 0.5 * size, least }))
  }
  const masks = new Uint8Array(crops * size)
  draws.shuffle(crops).forEach((from, row) => {
    masks.set(made[from]!, row * size)
  })
  const perRow = Array.from({ length: crops }, (_, row) =>
    masks.subarray(row * size, (row + 1) * size).reduce((sum, value) => sum + value, 0),
  )
  const indices = [...masks.keys()].filter((place) => masks[place] === 1)
  return { masks, indices, weights: Float32Array.from(indices, (place) => 1 / perRow[Math.floor(place / size)]!) }
}

/** torch.linspace in float32: from both ends to the middle. */
function linspace(start: number, end: number, count: number): number[] {
  const f = Math.fround
  if (count === 1) return [f(start)]
  const step = f((f(end) - f(start)) / (count - 1))
  return Array.from({ length: count }, (_, i) =>
    i < count >> 1 ? f(f(start) + f(step * i)) : f(f(end) - f(step * (count - 1 - i))),
  )
}
