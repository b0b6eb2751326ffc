/**
 * The tensors of a pre-training state, by the names that a checkpoint has for them: the student (the published
 * layout's parameters and `dino_head.*`) and the teacher (`teacher_trunk.*`, `teacher_visual_proj.weight`,
 * `teacher_dino_head.*`), which follows the student's tensors of the same name without `teacher_`.
 */
import type { VtpConfig } from '../model/vtp/config.js'
import { expectedTensors } from '../model/vtp/tensors.js'
import type { HyperParameters } from './recipe.js'

export type Shapes = ReadonlyMap<string, readonly number[]>

export const HEAD = 'dino_head.'
export const TEACHER = 'teacher_'
/** The student's own tensors beside a model file that holds the teacher's. */
export const STUDENT = 'student_'

/** RoPE's periods are stored and not trained. */
export function isBuffer(name: string): boolean {
  return name.endsWith('rope_embed.periods')
}

/** Of the student's tensors those that the losses reach: a branch with the weight 0 is not there. */
export function trainedTensors(
  config: VtpConfig,
  head: Shapes,
  weights: Pick<HyperParameters, 'w_clip' | 'w_ssl' | 'w_rec'>,
): Map<string, readonly number[]> {
  const [clip, ssl, rec] = [weights.w_clip > 0, weights.w_ssl > 0, weights.w_rec > 0]
  const reached = (name: string): boolean => {
    if (name === 'trunk.mask_token') return ssl
    if (name.startsWith('trunk.feature_bottleneck')) return rec || !config.vision_bottleneck_ae_only
    if (name.startsWith('trunk.')) return true
    if (name.startsWith('pixel_decoder.')) return rec
    return clip
  }
  const own = [...expectedTensors(config)].filter(([name]) => !isBuffer(name) && reached(name))
  return new Map([...own, ...(ssl ? head : [])])
}

/**
 * Of the student's tensors those that the optimiser sees with the gradient 0: without masks the official class still
 * adds 0 times the mask token, so that its weight decays.
 */
export function idleTensors(
  config: VtpConfig,
  { w_ssl }: Pick<HyperParameters, 'w_ssl'>,
): Map<string, readonly number[]> {
  const name = 'trunk.mask_token'
  return new Map(w_ssl > 0 ? [] : [[name, expectedTensors(config).get(name)!]])
}

/** Student's tensors that the teacher has. */
export function hasTeacher(name: string): boolean {
  return name.startsWith('trunk.') || name.startsWith(HEAD) || name === 'visual_proj.weight'
}
