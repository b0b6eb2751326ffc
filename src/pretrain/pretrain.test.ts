/** Parts of pre-training that no reference data covers: options of the losses, alarms, recipes, batches. */
import { describe, expect, it } from 'vitest'
import * as ort from '../engine/runtime.js'
import { GraphBuilder, type Value } from '../graph/builder.js'
import { configSchema } from '../model/vtp/config.js'
import { createAlarms } from './alarms.js'
import { planBatch } from './batch-plan.js'
import { freshTensor, headShapes } from './init.js'
import { addClipLoss, addDistinctClipLoss, addLaplacianL1 } from './losses.js'
import { parsePretrainRecipe } from './recipe.js'
import type { PretrainRecord } from './request.js'

async function evaluate(
  given: Record<string, [Float32Array, number[]]>,
  build: (graph: GraphBuilder, inputs: Value[]) => Value,
): Promise<number> {
  const graph = new GraphBuilder()
  const inputs = Object.entries(given).map(([name, [, shape]]) => graph.input({ name, dtype: 'float32', shape }))
  const out = graph.expose(build(graph, inputs))
  const session = await ort.InferenceSession.create(graph.encode(''))
  const feeds = Object.entries(given).map(([name, [data, shape]]) => [name, new ort.Tensor('float32', data, shape)])
  const results = await session.run(Object.fromEntries(feeds) as Record<string, ort.Tensor>)
  await session.release()
  return (results[out]!.data as Float32Array)[0]!
}

const wave = (count: number): Float32Array => Float32Array.from({ length: count }, (_, i) => Math.sin(i * 1.7))

describe('the contrastive loss over distinct captions', () => {
  it('is the plain one where all captions differ', async () => {
    const logits: [Float32Array, number[]] = [wave(9), [3, 3]]
    const third = Float32Array.from({ length: 9 }, (_, i) => (i % 4 === 0 ? 1 / 3 : 0))
    const plain = await evaluate({ logits }, (graph, [x]) => addClipLoss(graph, x!))
    const distinct = await evaluate({ logits, a: [third, [3, 3]], b: [third, [3, 3]] }, (graph, [x, a, b]) =>
      addDistinctClipLoss(graph, x!, { byImage: a!, byCaption: b! }),
    )
    expect(distinct).toBeCloseTo(plain, 6)
  })

  it('does not push images of one caption apart', async () => {
    // Images 0 and 1 share caption 0; a perfect match of all three has a loss near 0.
    const logits = Float32Array.of(9, -9, 9, -9, -9, 9)
    const byImage = Float32Array.of(1 / 3, 0, 1 / 3, 0, 0, 1 / 3)
    const byCaption = Float32Array.of(1 / 4, 0, 1 / 4, 0, 0, 1 / 2)
    const shape = [3, 2]
    const loss = await evaluate(
      { l: [logits, shape], a: [byImage, shape], b: [byCaption, shape] },
      (graph, [l, a, b]) => addDistinctClipLoss(graph, l!, { byImage: a!, byCaption: b! }),
    )
    // Between its two images the caption decides by halves: log 2 of one of two captions, one of two directions.
    expect(loss).toBeCloseTo(Math.log(2) / 4, 4)
  })
})

it('Laplacian L1 is 0 for equal images, and the mean for a constant difference', async () => {
  const shape = [1, 3, 16, 16]
  const a: [Float32Array, number[]] = [wave(768), shape]
  const apart = (by: number): Promise<number> =>
    evaluate({ a, b: [a[0].map((value) => value + by), shape] }, (graph, [x, y]) => addLaplacianL1(graph, x!, y!))
  expect(await apart(0)).toBe(0)
  expect(await apart(0.5)).toBeCloseTo(0.5, 5)
})

describe('alarms', () => {
  const records = (entropy: number, clip: number, count = 350): PretrainRecord[] =>
    Array.from({ length: count }, (_, i) => ({
      ...{ step: i + 1, total: 1, iteration: i, grad_norm: 1, imagesPerSecond: 1, seconds: { data: 0, step: 0 } },
      ...{ target_entropy: entropy, cls_spread: 0.5, clip: i < 10 ? 4 : clip },
    }))

  it('tell collapse and a loss that stays, once; and nothing of a training that learns', () => {
    const alarms = createAlarms(1024)
    const told = alarms.check(records(0.01, 4))
    expect(alarms.rung).toEqual(['targets_collapsed', 'no_learning'])
    expect(told.length).toBe(2)
    expect(alarms.check(records(0.01, 4))).toEqual([])
    expect(createAlarms(1024).check(records(4, 2))).toEqual([])
    expect(createAlarms(1024).check(records(Math.log(1024), 2))).toHaveLength(1)
  })

  it('leave a beginning alone', () => {
    expect(createAlarms(1024).check(records(0.01, 4, 100))).toEqual([])
  })
})

const minimal = `
config: {batch: {clip: 8, ssl: 4, rec: 4}, image_size: 64, global_size: 64, local_size: 32}
hyper_parameters:
  {w_clip: 1, w_ssl: 1, w_rec: 0.1, w_lpips: 0, w_koleo: 0.1, local_crops: 2, centering: sinkhorn_knopp, layer_decay: 1,
  patch_embed_lr_mult: 1, betas: [0.9, 0.98], eps: 1e-6, clip_grad: 3, freeze_last_layer_iters: 0,
  schedules: {lr: {base_value: 1e-3, final_value: 0, warmup_share: 0.1}, weight_decay: {base_value: 0.1, final_value: 0.1},
  momentum: {base_value: 0.9, final_value: 1}, teacher_temp: {base_value: 0.07, final_value: 0.07}}}
`

describe('a recipe', () => {
  it('in YAML has numbers as people write them, and schedules as long as the run', () => {
    const recipe = parsePretrainRecipe(minimal, 'r.yaml', { steps: 200, settings: ['config.batch.clip=16'] })
    expect(recipe.hyper_parameters.eps).toBe(1e-6)
    expect(recipe.hyper_parameters.schedules.lr).toMatchObject({ total_iters: 200, warmup_iters: 20 })
    expect(recipe.config.batch).toEqual({ clip: 16, ssl: 4, rec: 4 })
  })

  it('without a length of its schedules and without steps is refused', () => {
    expect(() => parsePretrainRecipe(minimal, 'r.yaml')).toThrow('does not say total_iters')
  })
})

describe('a batch', () => {
  const recipe = parsePretrainRecipe(minimal, 'r.yaml', { steps: 10 })

  it('shares the whole view between contrast and reconstruction, and stacks crops crop-major', () => {
    const plan = planBatch(recipe, configSchema.parse({}))
    expect(Object.fromEntries(plan.shapes)).toEqual({
      clip_u8: [8, 64, 64, 3],
      global_u8: [8, 64, 64, 3],
      local_u8: [8, 32, 32, 3],
      masks: [8, 16],
    })
    expect(plan.viewsOf(1).map(({ tensor, row }) => [tensor, row])).toEqual([
      ['clip_u8', 1],
      ['global_u8', 1],
      ['global_u8', 5],
      ['local_u8', 1],
      ['local_u8', 5],
    ])
    expect(plan.viewsOf(7).map(({ tensor }) => tensor)).toEqual(['clip_u8'])
  })

  it('has views of its own for reconstruction where stochastic depth makes the passes differ', () => {
    const dropping = { ...recipe, config: { ...recipe.config, drop: { ...recipe.config.drop, clip_drop_rate: 0.5 } } }
    const plan = planBatch(dropping, configSchema.parse({ vision_depth: 1 }))
    expect(plan.shapes.get('rec_u8')).toEqual([4, 64, 64, 3])
    expect(plan.shapes.get('keep.clip.block0.attn')).toEqual([4])
  })
})

describe('fresh weights', () => {
  const config = configSchema.parse({ text_embed_dim: 64, text_num_heads: 2, text_depth: 2, vision_init_values: 1e-5 })
  const settings = { config, siglip: false, seed: 1 }
  const spread = (values: Float32Array): number => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length)

  it.each([
    ['trunk.blocks.0.attn.qkv.weight', [96, 96], 0.02],
    ['trunk.patch_embed.proj.weight', [96, 3, 16, 16], 0.0209],
    ['text_projection', [64, 64], 0.125],
    ['text_transformer.resblocks.0.attn.out_proj.weight', [64, 64], 0.0625],
    ['text_transformer.resblocks.0.mlp.c_fc.weight', [256, 64], 0.0884],
    ['positional_embedding', [77, 64], 0.01],
    ['visual_proj.weight', [64, 96], 0.0589],
    ['dino_head.last_layer.weight_v', [256, 64], 0.0722],
  ])('%s has the official spread', (name, shape, expected) => {
    expect(Math.abs(spread(freshTensor(name, shape, 3, settings)) / expected - 1)).toBeLessThan(0.03)
  })

  it.each([
    ['trunk.mask_token', [1, 96], 0],
    ['trunk.norm.weight', [96], 1],
    ['trunk.blocks.0.ls1.gamma', [96], 1e-5],
    ['text_transformer.resblocks.0.attn.in_proj_bias', [192], 0],
    ['ln_final.bias', [64], 0],
    ['logit_scale', [], Math.log(1 / 0.07)],
    ['dino_head.last_layer.weight_g', [256, 1], 1],
  ])('%s is constant', (name, shape, expected) => {
    expect([...new Set(freshTensor(name, shape, 3, settings))]).toEqual([Math.fround(expected)])
  })

  it('of the head have the official names', () => {
    const shapes = headShapes(96, { K: 256, layers: 3, hidden: 128, bottleneck: 64 })
    expect([...shapes.keys()].filter((name) => name.endsWith('weight'))).toEqual(
      ['mlp.0', 'mlp.2', 'mlp.4'].map((layer) => `dino_head.${layer}.weight`),
    )
    expect(shapes.get('dino_head.last_layer.weight_g')).toEqual([256, 1])
  })
})
