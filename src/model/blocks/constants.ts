/** Mean and deviation that models were trained with, of channels in 0…1. */
export { IMAGENET_MEAN, IMAGENET_STD } from '../../image/normalize.js'

/** OpenAI's CLIP. */
export const CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073] as const
export const CLIP_STD = [0.26862954, 0.26130258, 0.27577711] as const

/** SigLIP, the quantised models, VA-VAE: −1…1. */
export const HALF = [0.5, 0.5, 0.5] as const
