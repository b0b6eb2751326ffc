/**
 * The shape of a LightningDiT: the reference's sizes, its options, and what a checkpoint's tensors say of
 * them. Reference: LightningDiT models/lightningdit.py (LightningDiT_models, LightningDiT.__init__).
 */
import { usageError } from '../../errors.js'
import { MOST_BLOCKS, MOST_RATIO, MOST_ROWS, MOST_SIDE, MOST_WIDTH } from '../config-limits.js'

export interface DitConfig {
  /** Side of the latents' grid, in cells. */
  inputSize: number
  patchSize: number
  inChannels: number
  hiddenSize: number
  depth: number
  numHeads: number
  mlpRatio: number
  /** Classes without the null class that guidance uses. */
  numClasses: number
  /** Whether the table of labels has a row for "no class", the last one. */
  nullClass: boolean
  learnSigma: boolean
  qkNorm: boolean
  swiglu: boolean
  rope: boolean
  rmsNorm: boolean
  /** adaLN without shifts: four modulations per block instead of six. */
  woShift: boolean
}

type Size = Pick<DitConfig, 'hiddenSize' | 'depth' | 'numHeads' | 'patchSize'>

const size = (hiddenSize: number, depth: number, numHeads: number, patchSize: number): Size => ({
  hiddenSize,
  depth,
  numHeads,
  patchSize,
})

/** Every name of the reference's configuration files. */
export const DIT_SIZES: Readonly<Record<string, Size>> = {
  'LightningDiT-B/1': size(768, 12, 12, 1),
  'LightningDiT-B/2': size(768, 12, 12, 2),
  'LightningDiT-L/2': size(1024, 24, 16, 2),
  'LightningDiT-XL/1': size(1152, 28, 16, 1),
  'LightningDiT-XL/2': size(1152, 28, 16, 2),
  'LightningDiT-1p0B/1': size(1536, 24, 24, 1),
  'LightningDiT-1p0B/2': size(1536, 24, 24, 2),
  'LightningDiT-1p6B/1': size(1792, 28, 28, 1),
  'LightningDiT-1p6B/2': size(1792, 28, 28, 2),
}

/** "LightningDiT-XL/1" for a configuration of that size, else its numbers. */
export function ditName(config: DitConfig): string {
  const found = Object.entries(DIT_SIZES).find(
    ([, s]) =>
      s.hiddenSize === config.hiddenSize &&
      s.depth === config.depth &&
      s.numHeads === config.numHeads &&
      s.patchSize === config.patchSize,
  )
  if (found) return found[0]
  return `LightningDiT ${config.hiddenSize}x${config.depth}, ${config.numHeads} heads, patch ${config.patchSize}`
}

/** Width of the feed-forward network: of SwiGLU's halves, or of the MLP. */
export function ditFfnWidth(config: Pick<DitConfig, 'hiddenSize' | 'mlpRatio' | 'swiglu'>): number {
  const hidden = Math.trunc(config.hiddenSize * config.mlpRatio)
  return config.swiglu ? Math.trunc((2 / 3) * hidden) : hidden
}

/** Tokens of one image. */
export function ditTokens(config: DitConfig): number {
  return Math.floor(config.inputSize / config.patchSize) ** 2
}

/** Multiplications of one model evaluation for one image, times two. */
export function ditFlops(config: DitConfig): number {
  const { hiddenSize: d, depth } = config
  const tokens = ditTokens(config)
  const ffn = ditFfnWidth(config) * d * (config.swiglu ? 3 : 2)
  const block = tokens * (4 * d * d + ffn + 2 * tokens * d) + (config.woShift ? 4 : 6) * d * d
  return 2 * depth * block
}

const MOST: Partial<Record<keyof DitConfig, number>> = {
  hiddenSize: MOST_WIDTH,
  depth: MOST_BLOCKS,
  mlpRatio: MOST_RATIO,
  numClasses: MOST_ROWS,
}

/** Throws usage error `bad_dit_config` for numbers that fit no model. */
export function checkDitConfig(config: DitConfig): DitConfig {
  const wrong: string[] = []
  for (const [name, value] of Object.entries(config)) {
    const most = MOST[name as keyof DitConfig]
    if (typeof value === 'number' && (!(value > 0) || value > (most ?? MOST_SIDE)))
      wrong.push(`${name} is ${value}${value > 0 ? `, more than ${most ?? MOST_SIDE}` : ''}`)
  }
  if (config.hiddenSize % config.numHeads !== 0)
    wrong.push(`hidden size ${config.hiddenSize} is not a multiple of ${config.numHeads} heads`)
  else if (config.rope && (config.hiddenSize / config.numHeads) % 4 !== 0)
    wrong.push(`RoPE needs a head size divisible by 4, not ${config.hiddenSize / config.numHeads}`)
  if (config.inputSize % config.patchSize !== 0)
    wrong.push(`a grid of ${config.inputSize} is not a multiple of the patch size ${config.patchSize}`)
  if (wrong.length > 0) throw usageError('bad_dit_config', `This is not a LightningDiT: ${wrong.join('; ')}`)
  return config
}
