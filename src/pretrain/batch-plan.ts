/**
 * What a batch of a recipe consists of: how many images each branch takes (the first ones of the batch, which is in
 * random order), which views of them, and the shapes of all tensors. Checked before anything is read.
 */
import { usageError } from '../errors.js'
import type { ViewLaw } from '../image/draw-view.js'
import type { VtpConfig } from '../model/vtp/config.js'
import type { PretrainRecipe } from './recipe.js'

/** A view of a sample: where it goes in the batch, and the number that its draws have. */
export interface PlannedView {
  tensor: 'clip_u8' | 'rec_u8' | 'global_u8' | 'local_u8'
  /** Row of the tensor. */
  row: number
  view: number
  law: ViewLaw
}

export interface BatchPlan {
  /** Images of a step. */
  images: number
  clip: number
  ssl: number
  rec: number
  /** Whether reconstruction takes the contrastive view, and its pass of the trunk. */
  shared: boolean
  /** Shapes of the tensors whose sizes do not change from step to step. */
  shapes: Map<string, number[]>
  /** Patches of a global crop, a side. */
  grid: number
  viewsOf(sample: number): PlannedView[]
}

/** Numbers of the draws of a sample: its views, then its caption. */
const [WHOLE, FIRST_CROP] = [0, 1]
export const CAPTION_VIEW = 0xffff

/** Throws usage error `bad_recipe`. */
export function planBatch({ config, hyper_parameters: given }: PretrainRecipe, model: VtpConfig): BatchPlan {
  const { batch, drop, image_size: size, local_size, views } = config
  const global_size = config.global_size ?? size
  const wanted = (name: 'clip' | 'ssl' | 'rec', weight: number): number => {
    if (weight === 0) return 0
    const count = batch?.[name]
    if (count === undefined) throw bad(`config.batch.${name} is missing, but w_${name} is ${weight}`)
    return count
  }
  const [clip, ssl, rec] = [wanted('clip', given.w_clip), wanted('ssl', given.w_ssl), wanted('rec', given.w_rec)]
  if (clip === 1) throw bad('config.batch.clip is 1: the contrastive loss compares images with each other')
  const comparing = [
    ...(given.w_koleo > 0 ? ['KoLeo'] : []),
    ...(given.centering === 'sinkhorn_knopp' ? ['Sinkhorn-Knopp'] : []),
  ]
  if (ssl === 1 && comparing.length > 0)
    throw bad(`config.batch.ssl is 1: images are compared with each other (${comparing.join(', ')})`, 'give at least 2')
  const patch = model.vision_patch_size
  for (const [name, side] of Object.entries({ image_size: size, global_size, local_size }))
    if (side % patch !== 0) throw bad(`config.${name} ${side} is not a multiple of the patch size ${patch}`)
  const grid = global_size / patch
  if (ssl > 0 && grid < 2)
    throw bad(`config.global_size ${global_size} is one patch: there is nothing to mask`, `give at least ${2 * patch}`)
  const shared = clip > 0 && rec > 0 && rec <= clip && drop.clip_drop_rate === 0 && drop.rec_drop_rate === 0
  const locals = given.local_crops
  const shapes = new Map<string, number[]>()
  const put = (name: PlannedView['tensor'], rows: number, side: number): void => {
    if (rows > 0) shapes.set(name, [rows, side, side, 3])
  }
  put('clip_u8', clip, size)
  if (!shared) put('rec_u8', rec, size)
  put('global_u8', 2 * ssl, global_size)
  put('local_u8', locals * ssl, local_size)
  if (ssl > 0) shapes.set('masks', [2 * ssl, grid * grid])
  const depth = model.vision_depth
  addKept(shapes, 'clip', drop.clip_drop_rate, clip, depth)
  addKept(shapes, 'rec', drop.rec_drop_rate, rec, depth)
  addKept(shapes, 'ssl', drop.ssl_drop_rate, 2 * ssl, depth, '.global')
  addKept(shapes, 'ssl', drop.ssl_drop_rate, locals * ssl, depth, '.local')

  const { filters } = views
  const plain = { filters, flip: 0, jitter: 0, grey: 0, blur: 0, solarize: 0 }
  const coloured = { filters, flip: views.flip, jitter: views.jitter, grey: views.grey }
  const whole: ViewLaw = { size, area: views.clip_area, ...plain }
  const globalLaw = (crop: number): ViewLaw => ({
    ...{ size: global_size, area: views.global_area, ...coloured },
    ...{ blur: views.blur[crop]!, solarize: crop === 1 ? views.solarize : 0 },
  })
  const localLaw: ViewLaw = { size: local_size, area: views.local_area, ...coloured, blur: views.blur[2], solarize: 0 }
  return {
    ...{ images: Math.max(clip, ssl, rec), clip, ssl, rec, shared, shapes, grid },
    viewsOf(sample) {
      const found: PlannedView[] = []
      if (sample < clip) found.push({ tensor: 'clip_u8', row: sample, view: WHOLE, law: whole })
      if (sample < rec && !shared) found.push({ tensor: 'rec_u8', row: sample, view: WHOLE, law: whole })
      if (sample >= ssl) return found
      // Crop-major: all first crops, then all second ones.
      for (let crop = 0; crop < 2; crop++)
        found.push({
          tensor: 'global_u8',
          row: crop * ssl + sample,
          view: FIRST_CROP + crop,
          law: globalLaw(crop),
        })
      for (let crop = 0; crop < locals; crop++)
        found.push({ tensor: 'local_u8', row: crop * ssl + sample, view: FIRST_CROP + 2 + crop, law: localLaw })
      return found
    },
  }
}

const bad = (what: string, suggestion?: string): Error =>
  usageError('bad_recipe', `The recipe: ${what}`, suggestion ? [suggestion] : [])

/** Rows that stochastic depth keeps: max(⌊rows · (1 − rate)⌋, 1), for each residual branch. */
function addKept(
  shapes: Map<string, number[]>,
  branch: string,
  rate: number,
  rows: number,
  depth: number,
  crops = '',
): void {
  if (rate === 0 || rows === 0) return
  for (let block = 0; block < depth; block++)
    for (const part of ['attn', 'ffn'])
      shapes.set(`keep.${branch}.block${block}.${part}${crops}`, [Math.max(Math.floor(rows * (1 - rate)), 1)])
}
