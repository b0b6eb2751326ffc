/** `vtp eval-zeroshot`: CLIP image features against class embeddings, which are made of prompts. */
import { firstProvider } from '../../engine/device.js'
import { openTextEncoder, type TextEncoder } from '../../engine/text-encoder.js'
import { usageError } from '../../errors.js'
import { type ImageModel, textOf } from '../../model/index.js'
import {
  type ClassifyRequest,
  type ClassifyResult,
  evaluateClassifier,
  type Rank,
  type Ranking,
  TOP,
} from '../classify/evaluate.js'
import type { PreparedSet } from '../pass/prepared-set.js'
import { buildClassifier, rankClasses } from './classifier.js'
import { type Prompts, readPrompts } from './prompts.js'

export interface ZeroshotRequest extends ClassifyRequest {
  classnames?: string
  templates?: string
}

export async function evaluateZeroshot(request: ZeroshotRequest): Promise<ClassifyResult> {
  // A wrong file is told before the listing; names of folders are known after it.
  const promptsFor = await readPrompts(request.classnames, request.templates)
  return evaluateClassifier(request, {
    what: 'zero-shot classification',
    output: 'clip',
    job: 'zeroshot',
    arithmetic: 'both towers ',
    needs: 'give a folder of class folders, a tar with .cls members, or a list with labels',
    check: (model) => void textOf(model),
    open: (model, set) => openRanking(request, model, set, promptsFor(set.classes)),
  })
}

function openRanking(request: ZeroshotRequest, model: ImageModel, set: PreparedSet, prompts: Prompts): Ranking {
  const { classnames, templates } = prompts
  checkClasses(set, prompts)
  return {
    names: classnames,
    decides: { classnames, templates },
    ready: () => embedClasses(request, model, prompts),
    description: [
      prompts.description,
      'text features normalised, averaged over templates, normalised',
      'cosine similarity, first of equal classes',
    ],
    wrongLabel: (label) => `the label ${label}, but there are ${classnames.length} class names`,
  }
}

/** Folders of classes must be as many as the names: labels are their positions. */
function checkClasses(set: PreparedSet, { classnames }: Prompts): void {
  const count = set.classes?.length
  if (count === undefined || count === 0 || count === classnames.length) return
  throw usageError(
    'classes_mismatch',
    `${set.uri} has ${count} classes, but there are ${classnames.length} class names`,
    [
      `give the ${count} names in the order of the folders with --classnames FILE, one per line, or take the folders' names: --classnames folder`,
    ],
  )
}

/** The class embeddings, from the cache or by the text tower, which is closed again. */
async function embedClasses(request: ZeroshotRequest, model: ImageModel, prompts: Prompts): Promise<Rank> {
  const { device, precision, onNote } = request
  let texts: TextEncoder | undefined
  const open = async (): Promise<TextEncoder> => {
    texts = await openTextEncoder(model, { device, precision, many: true })
    onNote?.(
      `Embedding ${prompts.classnames.length} classes × ${prompts.templates.length} templates (kept in the cache).`,
    )
    return texts
  }
  try {
    const key = { ...request, modelDigest: model.digest, provider: firstProvider(device) }
    const classifier = await buildClassifier(open, prompts, key)
    const count = Math.min(TOP, classifier.classes)
    return (features, images) => {
      const top = rankClasses(classifier, features, count)
      return Array.from({ length: images }, (_, i) => top.subarray(i * count, (i + 1) * count))
    }
  } finally {
    await texts?.close()
  }
}
