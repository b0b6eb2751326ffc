/** The linear probe and zero-shot classification against the official scripts, step by step. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { cpuDevice } from '../../src/engine/device.js'
import { openTextEncoder } from '../../src/engine/text-encoder.js'
import { openSafetensors, type SafetensorsFile } from '../../src/io/safetensors.js'
import { cosineRate, headGrid, LEARNING_RATES } from '../../src/metrics/probe/heads.js'
import { openTrainer } from '../../src/metrics/probe/trainer.js'
import { averageTemplates, rankClasses } from '../../src/metrics/zeroshot/classifier.js'
import { fillTemplate, readPrompts } from '../../src/metrics/zeroshot/prompts.js'
import { defaultCacheDir, openModel } from '../../src/model/index.js'
import { goldenPath } from '../golden.js'

const read = (name: string) => JSON.parse(readFileSync(goldenPath('linear-probe', name), 'utf8'))
const engine = { cacheDir: defaultCacheDir(), device: cpuDevice({ cores: 1 }) }

async function integers(file: SafetensorsFile, name: string): Promise<number[]> {
  const bytes = await file.readBytes(name)
  return Array.from(new BigInt64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8), Number)
}

describe('linear probe', () => {
  const expected = read('expected.json')
  const { dim, classes, n_train, batch, epochs, epoch_length, lrs, n_last_blocks_list } = expected.recipe
  const groups = headGrid({ blocks: n_last_blocks_list, avgpool: [true], rates: lrs, batchSize: batch })

  it('has the heads of the official script, with its collisions of names', () => {
    expect(lrs).toEqual(LEARNING_RATES)
    expect(groups.flatMap((group) => group.heads.map((head) => head.name))).toEqual(expected.heads_in_order)
  })

  it('weights after every recorded step, accuracies and the best head equal the official script', async () => {
    const file = await openSafetensors(goldenPath('linear-probe', 'probe.safetensors'))
    const cls = await file.readFloat32('in.cls') // [800, 4, dim]
    const patches = await file.readFloat32('in.patch_last') // [800, 2, dim]
    const labels = await integers(file, 'in.labels')
    const batches = await integers(file, 'batch_rows')
    const input = (row: number, blocks: number): number[] => {
      const out = Array.from(cls.subarray((row * 4 + 4 - blocks) * dim, (row * 4 + 4) * dim))
      for (let i = 0; i < dim; i++)
        out.push(Math.fround((patches[row * 2 * dim + i]! + patches[(row * 2 + 1) * dim + i]!) / 2))
      return out
    }
    const correct = new Map<string, number>()
    for (const { blocks, heads } of groups) {
      const width = (blocks + 1) * dim
      const tensor = (part: string, name: string, kind: string) =>
        file.readFloat32(`${part}.classifiers_dict.${name}.linear.${kind}`)
      const stack = async (part: string, kind: string) =>
        Float32Array.from(
          (await Promise.all(heads.map((head) => tensor(part, head.name, kind)))).flatMap((a) => [...a]),
        )
      const trainer = await openTrainer(
        { heads: heads.length, classes, dim: width },
        { weight: await stack('init', 'weight'), bias: await stack('init', 'bias') },
        engine,
      )
      const total = epochs * epoch_length
      for (let step = 0; step < total; step++) {
        const rows = batches.slice(step * batch, (step + 1) * batch)
        await trainer.step(
          Float32Array.from(rows.flatMap((row) => input(row, blocks))),
          Int32Array.from(rows, (row) => labels[row]!),
          heads.map((head) => cosineRate(head.rate, step, total)),
        )
      }
      const difference = (a: Float32Array, b: Float32Array): number =>
        a.reduce((max, v, i) => Math.max(max, Math.abs(v - b[i]!)), 0)
      expect(difference(trainer.state.weight, await stack('final', 'weight'))).toBeLessThan(5e-6)
      expect(difference(trainer.state.bias, await stack('final', 'bias'))).toBeLessThan(5e-6)
      const test = labels.map((_, row) => row).slice(n_train)
      const features = Float32Array.from(test.flatMap((row) => input(row, blocks)))
      const predicted = await trainer.predictor().predict(features)
      for (const [h, head] of heads.entries())
        correct.set(
          head.name,
          (100 * test.filter((row, i) => predicted[i * heads.length + h] === labels[row]).length) / test.length,
        )
      await trainer.close()
    }
    await file.close()
    expect(Object.fromEntries(correct)).toEqual(expected.accuracies_per_epoch.at(-1))
  })
})

describe('zero-shot classification', () => {
  it('classifier, top-1 and top-5 equal the official script', async () => {
    const { classes, templates, dim, top1_percent, top5_percent } = read('zeroshot_expected.json')
    const file = await openSafetensors(goldenPath('linear-probe', 'zeroshot.safetensors'))
    const normalise = (rows: Float32Array): Float32Array =>
      rows.map((value, i) => {
        const start = i - (i % dim)
        return value / Math.hypot(...rows.subarray(start, start + dim))
      })
    const classifier = averageTemplates(
      normalise(await file.readFloat32('in.text_embeddings_raw')),
      classes,
      templates,
      dim,
    )
    const want = await file.readFloat32('classifier') // [dim, classes]
    for (let c = 0; c < classes; c++)
      for (let i = 0; i < dim; i++) expect(classifier.weights[c * dim + i]).toBeCloseTo(want[i * classes + c]!, 6)
    const targets = await integers(file, 'in.targets')
    const top = rankClasses(classifier, normalise(await file.readFloat32('in.image_embeddings_raw')), 5)
    expect([...top]).toEqual(await integers(file, 'top5'))
    const share = (count: number): number =>
      (100 * targets.filter((target, i) => top.subarray(i * 5, i * 5 + count).includes(target)).length) / targets.length
    expect([share(1), share(5)]).toEqual([top1_percent, top5_percent])
    await file.close()
  })

  it('class embeddings of a model with the real names and templates equal the official script', async () => {
    const { classnames, model: name } = read('zeroshot_model.json')
    const { templates } = (await readPrompts(undefined, undefined))()
    expect(templates).toHaveLength(80)
    const model = await openModel(goldenPath('models', name))
    const encoder = await openTextEncoder(model)
    const features = await encoder.encode(classnames.flatMap((c: string) => templates.map((t) => fillTemplate(t, c))))
    const { weights } = averageTemplates(features, classnames.length, templates.length, encoder.dim)
    const file = await openSafetensors(goldenPath('linear-probe', 'zeroshot_model.safetensors'))
    const want = await file.readFloat32('classifier')
    for (let c = 0; c < classnames.length; c++)
      for (let i = 0; i < encoder.dim; i++)
        expect(weights[c * encoder.dim + i]).toBeCloseTo(want[i * classnames.length + c]!, 5)
    await encoder.close()
    await model.close()
    await file.close()
  })
})
