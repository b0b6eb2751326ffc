/**
 * Zero-shot classification: an image's probability of a label is the softmax, over all labels, of the
 * checkpoint's logit scale times the cosine of image and label (Radford et al., arXiv:2103.00020), or of models that
 * were trained so the sigmoid of each (SigLIP: Zhai et al., arXiv:2303.15343). A label's vector is the mean of its templates' unit vectors, scaled to length 1.
 */
import { readFile } from 'node:fs/promises'
import { errorText, usageError } from '../errors.js'
import { findShards, openShard } from '../io/shards/index.js'
import { type Probabilities, textOf } from '../model/index.js'
import type { RowMeta } from '../types.js'
import type { Embedder } from './embedder.js'
import { unitVectors } from './segments.js'
import { embeddingColumn } from './shard-rows.js'

export const DEFAULT_TEMPLATE = 'a photo of a {}.'

export interface LabelSet {
  /** Name and digest of the model that embedded the labels. */
  model: { name: string; digest: string }
  labels: string[]
  /** float32 [labels, dim], unit vectors. */
  vectors: Float32Array
  scale: number
  bias: number
  /** Over all labels together, or of each by itself. */
  probabilities: Probabilities
}

/** Lines that are not empty. Throws a usage error when there are none. */
export async function readLabelFile(file: string, what: string): Promise<string[]> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    throw usageError('labels_unreadable', `${what} ${file} cannot be read: ${errorText(error)}`, ['check the path'])
  }
  const lines = text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter(Boolean)
  if (lines.length === 0) throw usageError('labels_empty', `${what} ${file} is empty`, ['write one per line'])
  return lines
}

/** Templates have {} or {c} where the label goes. Throws a usage error for one that has not. */
export function fillTemplate(template: string, label: string): string {
  if (!/\{c?\}/.test(template)) {
    throw usageError('bad_template', `The template "${template}" has no place for the label`, [
      `write {} or {c} where the label goes, e.g. "${DEFAULT_TEMPLATE}"`,
    ])
  }
  return template.replace(/\{c?\}/g, () => label)
}

export async function embedLabels(embedder: Embedder, labels: string[], templates: string[]): Promise<LabelSet> {
  const { dim } = embedder
  const vectors = new Float32Array(labels.length * dim)
  for (const [i, label] of labels.entries()) {
    const found = await embedder.texts(templates.map((template) => fillTemplate(template, label)))
    const sum = new Float32Array(dim)
    for (let j = 0; j < found.length; j++) sum[j % dim] = sum[j % dim]! + found[j]!
    vectors.set(unitVectors(sum, dim), i * dim)
  }
  const { name, digest } = embedder.model
  const text = textOf(embedder.model)
  return { model: { name, digest }, labels, vectors, ...(await text.logitScale()), probabilities: text.probabilities }
}

/** Probabilities of the labels for a unit vector, in the labels' order. */
export function labelProbabilities(
  image: Float32Array,
  { labels, vectors, scale, bias, probabilities }: LabelSet,
): Float64Array {
  const dim = image.length
  const logits = Float64Array.from(labels, (_, i) => {
    let dot = 0
    for (let d = 0; d < dim; d++) dot += image[d]! * vectors[i * dim + d]!
    return scale * dot + bias
  })
  if (probabilities === 'sigmoid') return logits.map((logit) => 1 / (1 + Math.exp(-logit)))
  const largest = Math.max(...logits)
  const powers = logits.map((logit) => Math.exp(logit - largest))
  const sum = powers.reduce((a, b) => a + b, 0)
  return powers.map((power) => power / sum)
}

/** Rows of embedding shards with the probabilities of the labels. */
export async function* classifyShards(
  folder: string,
  set: LabelSet,
): AsyncGenerator<{ row: RowMeta; probabilities: Float64Array }> {
  for (const file of await findShards(folder)) {
    const shard = await openShard(file)
    try {
      const column = embeddingColumn(shard, undefined)
      const dim = column.shape[0]!
      const { 'vtp.model_digest': digest, 'vtp.model': name } = shard.provenance
      const wrong =
        dim * set.labels.length !== set.vectors.length
          ? `embeddings of ${dim} dimensions, not of ${set.model.name}`
          : digest !== undefined && digest !== set.model.digest
            ? `embeddings of ${name ?? 'another model'}, whose weights are not those of ${set.model.name}`
            : undefined
      if (wrong) {
        throw usageError('other_model', `${file} holds ${wrong}`, [
          'give the model that embedded the images with --model',
        ])
      }
      for await (const { rows, tensors } of shard.read([column.name], 1024)) {
        const vectors = unitVectors(tensors[column.name]!, dim)
        for (const [i, row] of rows.entries())
          yield { row, probabilities: labelProbabilities(vectors.subarray(i * dim, (i + 1) * dim), set) }
      }
    } finally {
      await shard.close()
    }
  }
}
