/**
 * How much memory a step of joint pre-training takes: the state exactly, and an estimate of what the forward pass keeps
 * for the backward one. Counted are the tensors of a block that the gradients read (training.ts), for every token of
 * every branch; on small models the measured peak was 0.97 to 1.5 times that (docs/notebook/pretraining.md).
 */
import { totalmem } from 'node:os'
import { cgroupLimits } from '../engine/cgroup.js'
import { usageError } from '../errors.js'
import { textLength, type VtpConfig } from '../model/vtp/config.js'
import { decoderShape, expectedTensors, type VitShape, visionShape } from '../model/vtp/tensors.js'
import type { BatchPlan } from './batch-plan.js'
import type { PretrainRecipe } from './recipe.js'
import type { PretrainStart } from './start.js'
import { trainedTensors } from './state.js'

export interface MemoryNeed {
  /** Parameters, gradients, two moments, and the teacher. */
  stateBytes: number
  /** All files of a checkpoint. */
  checkpointBytes: number
  /** Kept from the forward pass of a whole batch; an estimate. */
  activationBytes: number
}

const FLOAT = 4
/** Rows of a block that have the model's width: norms, q, k and v before and after rotation, attention, residuals. */
const WIDE = 17
/** Of the hidden width, with and without a gate. */
const [GATED, PLAIN] = [4, 2]
/** A text block has neither norms of q and k nor rotation. */
const WIDE_TEXT = 12
/** How far an estimate may be off: a run is refused only where half of it is too much. */
const DOUBT = 2

const gigabytes = (bytes: number): string =>
  `${(bytes / 1e9).toLocaleString('en-US', { maximumFractionDigits: bytes < 1e11 ? 1 : 0 })} GB`

const elements = (shapes: Iterable<readonly number[]>): number =>
  [...shapes].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0)

export function memoryNeed(
  { config, head, teacher }: Pick<PretrainStart, 'config' | 'head' | 'teacher'>,
  { config: given, hyper_parameters: weights }: PretrainRecipe,
  { clip, ssl, rec, shared, grid }: BatchPlan,
): MemoryNeed {
  const trained = elements(trainedTensors(config, head, weights).values())
  const model = elements([...expectedTensors(config).values(), ...head.values()])
  const patches = (side: number): number => (side / config.vision_patch_size) ** 2
  const whole = clip + (shared ? 0 : rec)
  const locals = weights.local_crops * (patches(given.local_size) + 1)
  const tokens = whole * (patches(given.image_size) + 1) + ssl * (2 * (grid ** 2 + 1) + locals)
  const rows = ssl * (2 + weights.local_crops) + 2 * ssl * grid ** 2 * given.masks.probability * given.masks.ratio[1]
  const logits = ssl === 0 ? 0 : 3 * rows * given.head.K
  const floats =
    blockFloats(visionShape(config), tokens) +
    (rec === 0 ? 0 : blockFloats(decoderShape(config), rec * patches(given.image_size))) +
    (clip === 0 ? 0 : textFloats(config, clip)) +
    logits
  return {
    stateBytes: FLOAT * (4 * trained + elements(teacher.values())),
    checkpointBytes: FLOAT * (model + 2 * trained + elements(teacher.values())),
    activationBytes: FLOAT * floats,
  }
}

function blockFloats({ depth, dim, ffn, ffnWidth }: VitShape, tokens: number): number {
  return depth * tokens * (WIDE * dim + (ffn === 'mlp' ? PLAIN : GATED) * ffnWidth)
}

function textFloats(config: VtpConfig, texts: number): number {
  const { text_depth: depth, text_embed_dim: dim, text_mlp_ratio: ratio } = config
  return depth * texts * textLength(config) * (WIDE_TEXT + PLAIN * ratio) * dim
}

/** Of this machine, or of the control group. */
export function memoryThere(): number {
  return Math.min(totalmem(), cgroupLimits().memoryBytes ?? Number.POSITIVE_INFINITY)
}

/** Throws usage error `memory_short` where a step cannot fit, whatever else runs. */
export function assertFits(need: MemoryNeed, there = memoryThere()): void {
  if (need.stateBytes + need.activationBytes / DOUBT <= there) return
  throw usageError(
    'memory_short',
    `A step needs about ${gigabytes(need.stateBytes + need.activationBytes)} of memory (${gigabytes(need.stateBytes)} of state, and what the forward pass of a batch keeps); there are ${gigabytes(there)}`,
    [
      'give smaller batches: --set config.batch.clip=N, and ssl and rec alike',
      'or a smaller model: --set model.vision_depth=N, model.vision_embed_dim=N and the decoder’s alike',
      'look at both with --dry-run',
    ],
  )
}
