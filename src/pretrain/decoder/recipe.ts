/**
 * What the decoder's stage is told: images and batches (`config`), losses and optimiser (`hyper_parameters`). Defaults
 * are LightningDiT's VA-VAE, the authors' own earlier recipe; VTP's are unpublished.
 */
import * as z from 'zod'
import { usageError } from '../../errors.js'
import type { GanHyperParameters } from '../gan.js'
import { patchGanGrid } from '../patchgan.js'
import type { RecipeChanges } from '../recipe.js'
import { parseRecipe, readRecipeText } from '../recipe-text.js'

const count = z.int().positive()
const rate = z.number().min(0).lt(1)

const schema = z.strictObject({
  config: z
    .strictObject({
      /** Side of the images, in pixels. */
      image_size: count.default(256),
      /** Images of a step. */
      batch: count.default(8),
      /** Whether half of the samples are mirrored. */
      flip: z.boolean().default(true),
      n_steps: count.optional(),
      save_every: count.optional(),
      pixel_loss: z.enum(['l1', 'laplacian']).default('l1'),
      /** Of pixels: the mean, or the sum divided by the images. */
      reduction: z.enum(['mean', 'sum']).default('mean'),
      /** Channels of the discriminator's first layer, and its layers that halve the image. */
      disc: z.strictObject({ ndf: count.default(64), layers: count.default(3) }).prefault({}),
      disc_loss: z.enum(['hinge', 'vanilla']).default('hinge'),
    })
    .prefault({}),
  hyper_parameters: z
    .strictObject({
      w_lpips: z.number().nonnegative().default(1),
      disc_weight: z.number().nonnegative().default(0.5),
      /** Steps before the discriminator counts: 5,001 updates of either network there, which are two a step. */
      disc_start: z.int().nonnegative().default(2501),
      lr: z.number().positive().default(1e-4),
      betas: z.tuple([rate, rate]).default([0.5, 0.9]),
      eps: z.number().positive().default(1e-8),
    })
    .prefault({}),
})

export type DecoderRecipe = z.infer<typeof schema>

/** Throws usage error `bad_recipe` that names every value that is wrong, `bad_setting`. */
export function parseDecoderRecipe(text: string, file: string, { settings, steps }: RecipeChanges = {}): DecoderRecipe {
  const { config, hyper_parameters } = parseRecipe(text, file, { schema, stage: 'decoder', settings })
  if (patchGanGrid(config.disc, config.image_size) < 1)
    throw usageError('bad_recipe', `${file}: images of ${config.image_size} are too small for the discriminator`, [
      'give larger images (config.image_size), or fewer layers (config.disc.layers)',
    ])
  return { config: { ...config, n_steps: steps ?? config.n_steps }, hyper_parameters }
}

/** Throws usage errors `recipe_unreadable`, `bad_recipe`, `bad_setting`. */
export async function readDecoderRecipe(file: string, changes: RecipeChanges = {}): Promise<DecoderRecipe> {
  return parseDecoderRecipe(await readRecipeText(file), file, changes)
}

/** The recipe as the step takes it. */
export function ganSettings({ config, hyper_parameters: given }: DecoderRecipe): GanHyperParameters {
  const { disc, disc_loss, pixel_loss, reduction } = config
  const { w_lpips: perceptual_weight, ...rest } = given
  return { ...rest, ...disc, disc_loss, pixel_loss, reduction, perceptual_weight }
}
