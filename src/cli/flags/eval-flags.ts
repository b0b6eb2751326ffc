/** Flags that the evaluation commands share. */
import { Flags } from '@oclif/core'

export const EVAL_FLAGS = {
  weights: Flags.string({
    summary: 'Folder with the weights of the networks that metrics need (Inception, VGG16, LPIPS).',
    description:
      'Looked for by their published names. Without it they come from the cache, or are downloaded once and checked by SHA-256.',
    helpValue: 'DIR',
  }),
  limit: Flags.integer({
    min: 1,
    summary: 'Use at most this many images, from the start of the listing.',
    helpValue: 'N',
  }),
  'batch-size': Flags.string({
    default: 'auto',
    summary: 'Images per pass of a network. It does not change the results.',
    helpValue: 'N',
  }),
  'checkpoint-seconds': Flags.integer({
    default: 60,
    min: 0,
    summary: 'How often progress is made durable, for an interrupted run to continue from; 0 is after every batch.',
    helpValue: 'N',
  }),
  device: Flags.string({ default: 'auto', summary: 'auto, cpu, cuda or cuda:1.', helpValue: 'DEVICE' }),
  seed: Flags.integer({ default: 0, min: 0, summary: 'Seed of everything that is drawn at random.', helpValue: 'N' }),
  'max-bad': Flags.string({
    default: '1%',
    summary: 'Largest share of images that cannot be read and still counts as success, e.g. 0.01 or 1%.',
    helpValue: 'SHARE',
  }),
  'max-pixels': Flags.integer({
    default: 100_000_000,
    min: 1,
    summary: 'Leave out images with more pixels than this.',
    helpValue: 'N',
  }),
} as const

/** Of the pixel decoder, in reconstruction. */
export const DECODER_PRECISION_FLAG = Flags.string({
  default: 'fp32',
  summary: 'Arithmetic of the pixel decoder: as --precision, which is that of the encoder.',
  description: 'The official script decodes at fp32, whatever it encodes at. `vtp decode` has one precision for all.',
  helpValue: 'NAME',
})

/** Which neighbour sets the radius of precision and recall. */
export const NEIGHBOUR_FLAG = Flags.integer({
  default: 3,
  min: 1,
  summary: 'Precision and recall: neighbour that sets the radius.',
  helpValue: 'K',
})

/** How many images precision and recall look at; their cost grows with the square. */
export const PR_IMAGES_FLAG = Flags.integer({
  default: 50_000,
  min: 4,
  summary: 'Precision and recall: at most this many images of each set, drawn by --seed.',
  helpValue: 'N',
})
