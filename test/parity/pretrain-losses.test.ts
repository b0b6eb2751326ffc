/** Losses, targets, head and schedules of joint pre-training against the official ones (golden/pretrain). */
import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import * as ort from '../../src/engine/runtime.js'
import { GraphBuilder, type Value } from '../../src/graph/builder.js'
import { addGradients } from '../../src/graph/gradients/index.js'
import { openTensorFile, type TensorFile } from '../../src/io/tensor-file.js'
import { addHead } from '../../src/pretrain/head.js'
import {
  addClipLoss,
  addContrastiveLogits,
  addDinoPairs,
  addDinoRows,
  addIbotLoss,
  addKoleo,
  addL1,
  addMean,
  addPerceptual,
  addSigLipLoss,
} from '../../src/pretrain/losses.js'
import { type CosineSchedule, cosineAt, openClipAt, scaledRate } from '../../src/pretrain/schedules.js'
import { addCentred, addSinkhorn } from '../../src/pretrain/targets.js'
import { goldenPath } from '../golden.js'
import { hashTensor } from '../support/hash-weights.js'

let golden: TensorFile
beforeAll(async () => {
  golden = await openTensorFile(goldenPath('pretrain', 'losses.safetensors'))
  return () => golden.close()
})

function relative(mine: Float32Array, theirs: Float32Array): number {
  let [difference, size] = [0, 0]
  theirs.forEach((value, i) => {
    difference += (mine[i]! - value) ** 2
    size += value ** 2
  })
  return size === 0 ? Math.sqrt(difference) : Math.sqrt(difference / size)
}

/** A graph over golden inputs. */
class Case {
  readonly graph = new GraphBuilder()
  private readonly feeds: Record<string, ort.Tensor> = {}

  constructor(readonly name: string) {}

  async input(part: string): Promise<Value> {
    const full = `${this.name}.in.${part}`
    const shape = [...golden.shapes.get(full)!]
    return this.given(part, shape, await golden.readFloat32(full))
  }

  given(name: string, shape: number[], values: Float32Array): Value {
    this.feeds[name] = new ort.Tensor('float32', values, shape)
    return this.graph.input({ name, dtype: 'float32', shape })
  }

  /** Compares outputs, and gradients of `loss`, with golden tensors. */
  async check(
    outputs: Record<string, Value>,
    gradients: { loss: Value; wrt: Record<string, Value> } | undefined,
    tolerance = 1e-5,
  ): Promise<void> {
    const { graph, name, feeds } = this
    const all = { ...outputs }
    if (gradients) {
      const found = addGradients(graph, gradients.loss, Object.values(gradients.wrt), { straightThrough: true })
      for (const [i, part] of Object.keys(gradients.wrt).entries()) all[`grad.${part}`] = found[i]!
    }
    for (const [part, value] of Object.entries(all))
      graph.output(value, { name: part, dtype: value.dtype as 'float32', shape: [...value.shape] })
    const session = await ort.InferenceSession.create(graph.encode(''), { intraOpNumThreads: 1, logSeverityLevel: 3 })
    const results = await session.run(feeds)
    await session.release()
    for (const part of Object.keys(all)) {
      const mine = results[part]!.data
      if (mine instanceof BigInt64Array) {
        expect([...mine].map(Number), part).toEqual(await golden.readIntegers(`${name}.${part}`))
        continue
      }
      const theirs = await golden.readFloat32(`${name}.${part}`)
      const largest = theirs.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
      // Values near 0 are compared as they are.
      if (largest < 0.05 && theirs.length === 1) expect((mine as Float32Array)[0]! - theirs[0]!, part).toBeCloseTo(0, 6)
      else expect(relative(mine as Float32Array, theirs), part).toBeLessThan(tolerance)
    }
  }
}

const casesOf = (kind: string): string[] => {
  const header = readFileSync(goldenPath('pretrain', 'losses.json'), 'utf8')
  return Object.keys(JSON.parse(header) as object).filter((name) => name.startsWith(kind))
}

describe('losses', () => {
  it.each([...casesOf('clip.'), ...casesOf('siglip.')])('%s: value and gradients', async (name) => {
    const test = new Case(name)
    const { graph } = test
    const [images, texts] = [await test.input('image_features'), await test.input('text_features')]
    const logitScale = await test.input('logit_scale')
    const sigmoid = name.startsWith('siglip')
    const logitBias = sigmoid ? await test.input('logit_bias') : undefined
    const logits = addContrastiveLogits(graph, { images, texts, logitScale, logitBias })
    const loss = sigmoid ? addSigLipLoss(graph, logits) : addClipLoss(graph, logits)
    const wrt = { image_features: images, text_features: texts, logit_scale: logitScale }
    await test.check(sigmoid ? { loss } : { loss, logits_per_image: logits }, {
      loss,
      wrt: logitBias ? { ...wrt, logit_bias: logitBias } : wrt,
    })
  })

  it.each(casesOf('targets.'))('%s: Sinkhorn-Knopp and centring', async (name) => {
    const test = new Case(name)
    const { graph } = test
    const logits = await test.input('teacher_logits')
    const temperature = await test.input('teacher_temp')
    const outputs: Record<string, Value> = {
      sinkhorn_dino: addSinkhorn(graph, logits, temperature),
      sinkhorn_1_iteration: addSinkhorn(graph, logits, temperature, 1),
    }
    const [rows, width] = logits.shape as [number, number]
    let centre = test.given('centre', [1, width], new Float32Array(width))
    for (let t = 0; t < 3; t++) {
      const order = graph.constant(
        Array.from({ length: rows }, (_, i) => (i - t + rows * 3) % rows),
        [rows],
        'int64',
      )
      const rolled = graph.op('Mul', [graph.op('Gather', [logits, order], { axis: 0 }), graph.scalar(1 + 0.1 * t)])
      const step = addCentred(graph, rolled, temperature, centre)
      outputs[`centering_dino.${t}`] = step.targets
      centre = step.centre
    }
    outputs.center_dino = centre
    await test.check(outputs, undefined)
  })

  it.each(casesOf('dino.local.'))('%s: every student view against every teacher view', async (name) => {
    const test = new Case(name)
    const [student, teacher] = [await test.input('student'), await test.input('teacher')]
    const [, images, width] = student.shape as number[]
    const rows = (x: Value): Value => test.graph.op('Reshape', [x, test.graph.ints([-1, width!])])
    // golden/pretrain gives the teacher's distributions.
    const loss = addDinoPairs(test.graph, rows(student), rows(teacher), images!)
    await test.check({ loss }, { loss, wrt: { student } })
  })

  it.each(casesOf('dino.global.'))('%s: row against row', async (name) => {
    const test = new Case(name)
    const [student, teacher] = [await test.input('student'), await test.input('teacher')]
    const loss = addDinoRows(test.graph, student, teacher)
    await test.check({ loss }, { loss, wrt: { student } })
  })

  it.each(casesOf('ibot.'))('%s: masked patches, each crop alike', async (name) => {
    const test = new Case(name)
    const [student, teacher] = [await test.input('student'), await test.input('teacher')]
    const weights = await test.input('masks_weight')
    const crops = golden.shapes.get(`${name}.in.masks`)![0]!
    const loss = addIbotLoss(test.graph, student, teacher, weights, crops)
    await test.check({ loss }, { loss, wrt: { student } })
  })

  it.each(casesOf('koleo.'))('%s: distance to the nearest', async (name) => {
    const test = new Case(name)
    const cls = await test.input('cls')
    const { loss, nearest } = addKoleo(test.graph, cls)
    await test.check({ loss, nearest }, { loss, wrt: { cls } })
  })

  it.each(casesOf('head.'))('%s: outputs and the gradients of every parameter', async (name) => {
    const test = new Case(name)
    const { graph } = test
    const prefix = `${name}.in.param.`
    const names = [...golden.shapes.keys()]
      .filter((key) => key.startsWith(prefix))
      .map((key) => key.slice(prefix.length))
    const parameters = new Map<string, Value>()
    for (const parameter of names) parameters.set(parameter, await test.input(`param.${parameter}`))
    const [x, cotangent] = [await test.input('x'), await test.input('cotangent')]
    const { logits, bottleneck } = addHead(graph, (parameter) => parameters.get(parameter)!, names, x)
    const loss = graph.op('ReduceSum', [graph.op('Mul', [logits, cotangent])], { keepdims: 0 })
    const wrt = Object.fromEntries([...parameters].map(([key, value]) => [`param.${key}`, value]))
    await test.check({ out: logits, bottleneck_normalised: bottleneck, loss }, { loss, wrt: { x, ...wrt } })
  })

  it('rec.0: L1 + LPIPS, and their gradients', async () => {
    const test = new Case('rec.0')
    const { graph } = test
    const [image, target] = [await test.input('reconstruction'), await test.input('target')]
    const weight = (name: string, shape: number[]): Value =>
      test.given(
        name,
        shape,
        hashTensor(name.startsWith('lin') ? `${name}.model.1.weight` : name, shape).data as Float32Array,
      )
    const l1 = addL1(graph, image, target)
    const lpips = addPerceptual(graph, weight, image, target)
    const loss = graph.op('Add', [l1, addMean(graph, lpips)])
    await test.check({ l1, lpips, loss }, undefined)
    const again = new Case('rec.0')
    const [second, target2] = [await again.input('reconstruction'), await again.input('target')]
    const weight2 = (name: string, shape: number[]): Value =>
      again.given(
        name,
        shape,
        hashTensor(name.startsWith('lin') ? `${name}.model.1.weight` : name, shape).data as Float32Array,
      )
    const sum = again.graph.op('Add', [
      addL1(again.graph, second, target2),
      addMean(again.graph, addPerceptual(again.graph, weight2, second, target2)),
    ])
    await again.check({}, { loss: sum, wrt: { reconstruction: second } }, 1e-3)
  })
})

interface Schedules {
  dinov2: { what: string; args: CosineSchedule; zero_first?: number; at: number[]; values: [number, number][] }[]
  open_clip: { base_lr: number; warmup: number; steps: number; values: [number, number][] }[]
  lr_scaling: { rule: string; base_lr: number; batch: number; lr: number }[]
}

describe('schedules', () => {
  const schedules = JSON.parse(readFileSync(goldenPath('pretrain', 'schedules.json'), 'utf8')) as Schedules

  it('are the official ones, to the last digits', () => {
    for (const { args, zero_first: frozen = 0, values } of schedules.dinov2)
      for (const [step, value] of values)
        expect(step < frozen ? 0 : cosineAt(args, step), `${JSON.stringify(args)} at ${step}`).toBeCloseTo(value, 12)
    for (const { base_lr: base, warmup, steps, values } of schedules.open_clip)
      for (const [step, value] of values) expect(openClipAt({ base, warmup, steps }, step)).toBeCloseTo(value, 12)
    for (const { base_lr: base, batch, lr } of schedules.lr_scaling) expect(scaledRate(base, batch)).toBeCloseTo(lr, 12)
  })
})
