/** What is computed of a pair of images. */
export interface PairMetrics {
  psnr: boolean
  ssim: boolean
  lpips: boolean
}

/** Scores of one pair; what was not asked for is undefined. */
export interface PairScores {
  /** dB; infinite for identical images. */
  psnr?: number
  ssim?: number
  lpips?: number
}
