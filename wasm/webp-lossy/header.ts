/**
 * The header of a key frame (RFC 6386, sections 9.2 to 9.11 and 19.2) -> what the other files need of it: quantisers,
 * strengths of the loop filter, probabilities. Clamping, colour space and scaling are ignored, as libwebp does.
 */
import { isOverrun, readBit, readNumber, readOptional } from './bools'
import { AC_QUANTISERS, BANDS, DC_QUANTISERS, FIRST_PROBABILITIES, KEEP_PROBABILITIES } from './tables'

const SEGMENTS: i32 = 4

/** Kinds of block, in the order of the probabilities. */
export const LUMA_WITHOUT_DC: i32 = 0
export const LUMA_DC: i32 = 1
export const CHROMA: i32 = 2
export const LUMA: i32 = 3
const KINDS: i32 = 4

/** Probabilities by kind, position of the coefficient (one more than there are) and context, each in 16 bytes. */
export const CONTEXT_BYTES: i32 = 16
export const POSITION_BYTES: i32 = 3 * CONTEXT_BYTES
export const KIND_BYTES: i32 = 17 * POSITION_BYTES
export const PROBABILITIES: usize = memory.data(4 * 17 * 48, 16)
/** Those of one kind by band, as the file has them. */
const BAND_COUNT: i32 = 8
const BY_BAND: usize = memory.data(8 * 48, 16)

/** Quantisers of a segment: 16 by position (u16), for each of luma, luma's DC and chroma. */
export const QUANTISER_BYTES: i32 = 32
const SEGMENT_BYTES: i32 = 3 * QUANTISER_BYTES
const QUANTISERS: usize = memory.data(4 * 96, 16)

/** Per segment, and for one mode or sixteen: how a macroblock is filtered, in four bytes (filter.ts). */
const STRENGTHS: usize = memory.data(4 * 2 * 4, 4)

/** 0: the loop filter is off; 1: the simple one; 2: the normal one. */
export let filterKind: i32 = 0
export let hasSegmentMap: bool = false
/** Probabilities of the segments' tree. */
export const SEGMENT_PROBABILITIES: usize = memory.data(3)
/** Whether macroblocks say that they have no coefficients, and the probability that they have. */
export let hasSkips: bool = false
export let codedProbability: u32 = 0

let hasSegments: bool = false
/** Whether values of a segment replace those of the frame; otherwise they are added. */
let areAbsolute: bool = true
const segmentQuantisers = new StaticArray<i32>(4)
const segmentLevels = new StaticArray<i32>(4)
let level: i32 = 0
let sharpness: i32 = 0
/** What is added to the level of an intra-coded macroblock, and of one with sixteen modes. */
let intraDelta: i32 = 0
let blocksDelta: i32 = 0

/** Reads the header up to the number of partitions of coefficients, which it returns; 0 if it is damaged. */
export function readFrameHeader(): i32 {
  readNumber(2) // colour space and clamping
  readSegments()
  if (isOverrun()) return 0
  readFilter()
  if (isOverrun()) return 0
  return 1 << readNumber(2)
}

function readSegments(): void {
  hasSegments = readBit(128) != 0
  hasSegmentMap = false
  areAbsolute = true
  segmentQuantisers.fill(0)
  segmentLevels.fill(0)
  if (!hasSegments) return
  hasSegmentMap = readBit(128) != 0
  if (readBit(128)) {
    areAbsolute = readBit(128) != 0
    for (let s = 0; s < SEGMENTS; s++) segmentQuantisers[s] = readOptional(7)
    for (let s = 0; s < SEGMENTS; s++) segmentLevels[s] = readOptional(6)
  }
  if (hasSegmentMap) {
    for (let i = 0; i < 3; i++) store<u8>(SEGMENT_PROBABILITIES + i, readBit(128) ? readNumber(8) : 255)
  }
}

function readFilter(): void {
  const isSimple = readBit(128) != 0
  level = readNumber(6)
  sharpness = readNumber(3)
  filterKind = level == 0 ? 0 : isSimple ? 1 : 2
  intraDelta = 0
  blocksDelta = 0
  if (!readBit(128) || !readBit(128)) return
  // Of the four kinds of reference and of the four of mode, a key frame has the first.
  for (let i = 0; i < 8; i++) {
    if (!readBit(128)) continue
    const number = readNumber(6)
    const delta = readBit(128) ? -number : number
    if (i == 0) intraDelta = delta
    else if (i == 4) blocksDelta = delta
  }
}

/** Reads the rest: quantisers and probabilities. False if it is damaged. */
export function readFrameTables(): bool {
  readQuantisers()
  readBit(128) // whether probabilities are kept for later frames
  readProbabilities()
  hasSkips = readBit(128) != 0
  codedProbability = hasSkips ? readNumber(8) : 0
  setStrengths()
  return !isOverrun()
}

function clampIndex(index: i32, most: i32): i32 {
  return max(0, min(index, most))
}

function readQuantisers(): void {
  const base = readNumber(7)
  const lumaDc = readOptional(4)
  const secondDc = readOptional(4)
  const secondAc = readOptional(4)
  const chromaDc = readOptional(4)
  const chromaAc = readOptional(4)
  for (let s = 0; s < SEGMENTS; s++) {
    let index = base
    if (hasSegments) index = segmentQuantisers[s] + (areAbsolute ? 0 : base)
    const to = quantisersOf(s)
    setQuantisers(to, dcQuantiser(index + lumaDc, 127), acQuantiser(index))
    const ac = (acQuantiser(index + secondAc) * 155) / 100
    setQuantisers(to + QUANTISER_BYTES, 2 * dcQuantiser(index + secondDc, 127), max(8, ac))
    setQuantisers(to + 2 * QUANTISER_BYTES, dcQuantiser(index + chromaDc, 117), acQuantiser(index + chromaAc))
  }
}

function dcQuantiser(index: i32, most: i32): i32 {
  return load<u8>(DC_QUANTISERS + clampIndex(index, most))
}

function acQuantiser(index: i32): i32 {
  return load<u16>(AC_QUANTISERS + (clampIndex(index, 127) << 1))
}

function setQuantisers(to: usize, dc: i32, ac: i32): void {
  const all = i16x8.splat(<i16>ac)
  v128.store(to, i16x8.replace_lane(all, 0, <i16>dc))
  v128.store(to, all, 16)
}

/** Those of luma; behind them those of luma's DC and of chroma. */
export function quantisersOf(segment: i32): usize {
  return QUANTISERS + segment * SEGMENT_BYTES
}

function readProbabilities(): void {
  let from: usize = 0
  for (let kind = 0; kind < KINDS; kind++) {
    for (let i = 0; i < BAND_COUNT * 3; i++) {
      for (let p = 0; p < 11; p++, from++) {
        const isKept = !readBit(load<u8>(KEEP_PROBABILITIES + from))
        const probability = isKept ? load<u8>(FIRST_PROBABILITIES + from) : readNumber(8)
        store<u8>(BY_BAND + i * CONTEXT_BYTES + p, <u8>probability)
      }
    }
    const to = PROBABILITIES + kind * KIND_BYTES
    for (let position = 0; position <= 16; position++) {
      const band = <i32>load<u8>(BANDS + position)
      memory.copy(to + position * POSITION_BYTES, BY_BAND + band * POSITION_BYTES, POSITION_BYTES)
    }
  }
}

function setStrengths(): void {
  for (let s = 0; s < SEGMENTS; s++) {
    let base = level
    if (hasSegments) base = segmentLevels[s] + (areAbsolute ? 0 : level)
    for (let isBlocks = 0; isBlocks < 2; isBlocks++) {
      const strength = clampIndex(base + intraDelta + (isBlocks ? blocksDelta : 0), 63)
      store<u32>(STRENGTHS + s * 8 + isBlocks * 4, strengthOf(strength, isBlocks != 0))
    }
  }
}

/** Of a level: limit at an edge, limit inside, threshold of variance (15.2, 15.3); 0 for no filter. */
function strengthOf(strength: i32, isInner: bool): u32 {
  if (strength == 0) return 0
  let inside = strength
  if (sharpness > 0) inside = min(inside >> (sharpness > 4 ? 2 : 1), 9 - sharpness)
  inside = max(inside, 1)
  const variance = strength >= 40 ? 2 : strength >= 15 ? 1 : 0
  return (2 * strength + inside) | (inside << 8) | (variance << 16) | (isInner ? INNER_EDGES : 0)
}

/** Marks a macroblock whose inner edges are filtered too. */
export const INNER_EDGES: u32 = 1 << 24

export function strengthFor(segment: i32, isBlocks: bool): u32 {
  return load<u32>(STRENGTHS + segment * 8 + (isBlocks ? 4 : 0))
}
