/**
 * Zero-shot weights: for each class the normalised text features of all templates, averaged and normalised
 * again (tools/test_zero_shot_hf.py, build_zero_shot_classifier); and the ranking of classes by them.
 */
import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { TextEncoder } from '../../engine/text-encoder.js'
import { writeAtomically } from '../../io/atomic.js'
import type { Precision } from '../../model/index.js'
import { engineVersion } from '../../version.js'
import { featureRows } from '../fid/feature-file.js'
import { openState } from '../pass/state.js'
import { fillTemplate, type Prompts } from './prompts.js'

/** float32 [classes, dim], rows of length 1. */
export interface Classifier {
  classes: number
  dim: number
  weights: Float32Array
}

/** Mean of normalised features over templates, normalised: [classes × templates, dim] → [classes, dim]. */
export function averageTemplates(features: Float32Array, classes: number, templates: number, dim: number): Classifier {
  const weights = new Float32Array(classes * dim)
  const sum = new Float64Array(dim)
  for (let c = 0; c < classes; c++) {
    sum.fill(0)
    for (let t = 0; t < templates; t++) {
      const at = (c * templates + t) * dim
      for (let i = 0; i < dim; i++) sum[i]! += features[at + i]! / templates
    }
    const norm = Math.max(1e-12, Math.sqrt(sum.reduce((total, value) => total + value * value, 0)))
    for (let i = 0; i < dim; i++) weights[c * dim + i] = sum[i]! / norm
  }
  return { classes, dim, weights }
}

export interface ClassifierOptions {
  modelDigest: string
  /** What the encoder computes with. */
  precision: Precision
  provider: string
  cacheDir: string
  /** How often progress is made durable. */
  checkpointSeconds: number
  stop?: AbortSignal
}

/** Embeds all prompts, or takes what an earlier run left in the cache. `open` is called only when texts are to be encoded. */
export async function buildClassifier(
  open: () => Promise<TextEncoder>,
  prompts: Prompts,
  options: ClassifierOptions,
): Promise<Classifier> {
  const { classnames, templates } = prompts
  const { modelDigest, precision, provider, cacheDir } = options
  const identity = { what: 'class embeddings', modelDigest, classnames, templates, precision, provider }
  const digest = createHash('sha256')
    .update(JSON.stringify([identity, engineVersion()]))
    .digest('hex')
  const file = path.join(cacheDir, 'zeroshot', `${digest.slice(0, 32)}.f32`)
  const stored = await readFile(file).catch(() => undefined)
  if (stored && stored.length > 0 && stored.length % (classnames.length * 4) === 0) {
    const weights = new Float32Array(Uint8Array.from(stored).buffer)
    return { classes: classnames.length, dim: weights.length / classnames.length, weights }
  }
  const encoder = await open()
  const state = await openState({ ...identity, engine: engineVersion() }, options)
  let complete = false
  try {
    const rows = featureRows(encoder.dim, await state.openFile('classes.f32'))
    for (const name of classnames.slice(rows.count)) {
      if (options.stop?.aborted) await state.checkpoint({})
      options.stop?.throwIfAborted()
      const features = await encoder.encode(templates.map((template) => fillTemplate(template, name)))
      await rows.append(averageTemplates(features, 1, templates.length, encoder.dim).weights)
      await state.checkpointWhenDue(() => ({ head: {} }))
    }
    const weights = await rows.block(0, classnames.length)
    await writeAtomically(file, (tmp) => writeFile(tmp, new Uint8Array(weights.buffer)))
    complete = true
    return { classes: classnames.length, dim: encoder.dim, weights }
  } finally {
    await state.close(complete)
  }
}

/** The `count` best classes of each image, best first; of equal ones the lower number. `features` is float32 [N, dim]. */
export function rankClasses({ classes, dim, weights }: Classifier, features: Float32Array, count: number): Int32Array {
  const images = features.length / dim
  const top = new Int32Array(images * count).fill(-1)
  const scores = new Float64Array(count)
  for (let n = 0; n < images; n++) {
    scores.fill(Number.NEGATIVE_INFINITY)
    for (let c = 0; c < classes; c++) {
      let score = 0
      for (let i = 0; i < dim; i++) score += features[n * dim + i]! * weights[c * dim + i]!
      if (!(score > scores[count - 1]!)) continue
      let at = count - 1
      for (; at > 0 && score > scores[at - 1]!; at--) {
        scores[at] = scores[at - 1]!
        top[n * count + at] = top[n * count + at - 1]!
      }
      scores[at] = score
      top[n * count + at] = c
    }
  }
  return top
}
