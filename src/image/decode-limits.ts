/** What decoding one image may cost. */
export interface DecodeLimits {
  /** Images with more pixels are rejected before they are decoded. */
  maxPixels: number
  /** Decoding that takes longer is given up. */
  timeoutMs: number
}

export const DEFAULT_LIMITS: DecodeLimits = { maxPixels: 100_000_000, timeoutMs: 60_000 }
