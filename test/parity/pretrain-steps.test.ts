/** Whole steps of joint pre-training through the command line, against the official classes (golden/pretrain/steps). */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { openTensorFile } from '../../src/io/tensor-file.js'
import { parseConfig } from '../../src/model/vtp/config.js'
import { expectedTensors } from '../../src/model/vtp/tensors.js'
import { groupOf, type ParameterGroup } from '../../src/pretrain/groups.js'
import type { JointLog } from '../../src/pretrain/joint.js'
import type { HyperParameters } from '../../src/pretrain/recipe.js'
import { goldenPath } from '../golden.js'
import { repoRoot, runCli, tempDir } from '../support/cli.js'
import { hashWeightsFolder } from '../support/hash-weights.js'

const CASES = ['joint_f32rope', 'joint_bf16rope_drop']

interface Expected {
  config: object
  hyper_parameters: HyperParameters
  log: JointLog[]
  groups: Record<string, ParameterGroup>
  suggested_tolerance: Record<string, number>
}

const folderOf = (name: string): string => goldenPath('pretrain', 'steps', name)
const expectedOf = (name: string): Expected =>
  JSON.parse(readFileSync(path.join(folderOf(name), 'expected.json'), 'utf8')) as Expected

const norm = (values: Iterable<number>): number => {
  let sum = 0
  for (const value of values) sum += value ** 2
  return Math.sqrt(sum)
}
const apart = (a: Float32Array, b: Float32Array): number => norm(a.map((value, i) => value - b[i]!))

/** Without the key third of the text tower's bias: its gradient is 0 but for rounding, which AdamW turns into ±lr. */
const compared = (name: string, values: Float32Array): Float32Array => {
  if (!name.endsWith('attn.in_proj_bias')) return values
  const third = values.length / 3
  return values.filter((_, i) => i < third || i >= 2 * third)
}

const replay = (name: string, out: string, changes: Record<string, string> = {}) => {
  const flags = {
    replay: path.join(folderOf(name), 'batches.safetensors'),
    init: folderOf(name),
    recipe: path.join(folderOf(name), 'expected.json'),
    steps: '3',
    weights: hashWeightsFolder(),
    out,
    ...changes,
  }
  return runCli(['pretrain', ...Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value])])
}

function recipeWith(name: string, changes: Partial<HyperParameters>): string {
  const { config, hyper_parameters } = expectedOf(name)
  const file = path.join(tempDir(), 'recipe.json')
  writeFileSync(file, JSON.stringify({ config, hyper_parameters: { ...hyper_parameters, ...changes } }))
  return file
}

const logOf = (out: string): JointLog[] =>
  readFileSync(path.join(out, 'log.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as JointLog)

describe('vtp pretrain --replay', () => {
  it.each(CASES)('%s: losses, parameters, teacher, moments and centres of three steps', async (name) => {
    const out = path.join(tempDir(), 'run')
    const expected = expectedOf(name)
    const tolerance = expected.suggested_tolerance
    const run = await replay(name, out)
    expect(run.code, run.stderr).toBe(0)
    const log = logOf(out)
    expect(log.length).toBe(3)
    log.forEach((line, step) => {
      expect(Object.keys(line).sort()).toEqual(Object.keys(expected.log[step]!).sort())
      for (const [key, value] of Object.entries(expected.log[step]!)) {
        const allowed = tolerance[`loss.${key}`] ?? 1e-12
        expect(Math.abs(line[key]! - value), `${key} of step ${step}`).toBeLessThanOrEqual(allowed * Math.abs(value))
      }
    })
    const folder = folderOf(name)
    const checkpoint = path.join(out, 'checkpoints', '0000003')
    const files = await Promise.all(
      [
        path.join(folder, 'model.safetensors'),
        path.join(folder, 'training.safetensors'),
        path.join(folder, 'after.safetensors'),
        path.join(checkpoint, 'model.safetensors'),
        path.join(checkpoint, 'training.safetensors'),
      ].map((file) => openTensorFile(file)),
    )
    const [initModel, initTraining, after, model, training] = files as [
      (typeof files)[0],
      (typeof files)[0],
      (typeof files)[0],
      (typeof files)[0],
      (typeof files)[0],
    ]
    expect(readFileSync(path.join(checkpoint, 'config.json'))).toEqual(readFileSync(path.join(folder, 'config.json')))
    expect(new Map([...model.shapes].sort())).toEqual(new Map([...initModel.shapes].sort()))
    expect(model.dtypes.get('trunk.rope_embed.periods')).toBe(initModel.dtypes.get('trunk.rope_embed.periods'))
    const moved: number[] = []
    for (const key of after.shapes.keys()) {
      const theirs = await after.readFloat32(key)
      if (key.startsWith('step0.')) continue
      if (key.startsWith('step2.')) {
        const tensor = key.slice('step2.'.length)
        const [mine, before] = [
          model.shapes.has(tensor) ? model : training,
          initModel.shapes.has(tensor) ? initModel : initTraining,
        ]
        const from = compared(tensor, await before.readFloat32(tensor))
        const to = compared(tensor, theirs)
        const share = apart(compared(tensor, await mine.readFloat32(tensor)), to) / (apart(to, from) || 1)
        expect(share, tensor).toBeLessThanOrEqual(tolerance.final_params_relative_to_movement!)
        moved.push(share)
      } else {
        // Two steps behind the first the moments carry what the parameters did.
        const [mine, size] = [compared(key, await training.readFloat32(key)), norm(compared(key, theirs))]
        expect(apart(mine, compared(key, theirs)), key).toBeLessThanOrEqual(3 * tolerance.grads! * size)
      }
    }
    moved.sort((a, b) => a - b)
    expect(moved[moved.length >> 1]).toBeLessThanOrEqual(tolerance.final_params_median!)
    await Promise.all(files.map((file) => file.close()))
  })

  it.each([
    ['eval-every', '2', '--eval-every does not go with --replay'],
    ['set', 'config.batch.clip=4', '--set config.batch does not go with --replay'],
    ['init', 'nano', '--init nano: config.json cannot be read there'],
    ['recipe', path.join(repoRoot, 'recipes', 'decoder.yaml'), 'is a recipe of --stage decoder'],
  ])('refuses --%s %s', async (flag, value, message) => {
    const run = await replay('joint_f32rope', path.join(tempDir(), 'run'), { [flag]: value })
    expect(run.code, run.stderr).toBe(2)
    expect(run.stderr).toContain(message)
  })

  it('LPIPS without its weights is a usage error that says where they belong, and nothing is downloaded', async () => {
    const run = await replay('joint_f32rope', path.join(tempDir(), 'run'), { weights: tempDir() })
    expect(run.code, run.stderr).toBe(2)
    expect(run.stderr).toContain('--weights DIR')
  })

  it('a loss with the weight 0 is not computed, and what only it trains stays as it was', async () => {
    const name = 'joint_bf16rope_drop'
    const out = path.join(tempDir(), 'run')
    const run = await replay(name, out, { recipe: recipeWith(name, { w_ssl: 0, w_clip: 0 }) })
    expect(run.code, run.stderr).toBe(0)
    expect(Object.keys(logOf(out)[0]!).filter((key) => /clip|dino|ibot|koleo/.test(key))).toEqual([])
    const [before, after] = await Promise.all(
      [folderOf(name), path.join(out, 'checkpoints', '0000003')].map((folder) =>
        openTensorFile(path.join(folder, 'model.safetensors')),
      ),
    )
    for (const tensor of ['token_embedding.weight', 'visual_proj.weight', 'logit_scale'])
      expect(await after!.readFloat32(tensor)).toEqual(await before!.readFloat32(tensor))
    expect(await after!.readFloat32('trunk.norm.weight')).not.toEqual(await before!.readFloat32('trunk.norm.weight'))
    await Promise.all([before!.close(), after!.close()])
  })

  it('what the optimiser and the teacher do to tensors that no loss reaches, as the official class does it', async () => {
    const name = 'joint_bf16rope_drop'
    const { layer_decay } = expectedOf(name).hyper_parameters
    const trainedWith = async (changes: Partial<HyperParameters>) => {
      const out = path.join(tempDir(), 'run')
      const run = await replay(name, out, { recipe: recipeWith(name, changes) })
      expect(run.code, run.stderr).toBe(0)
      return { log: logOf(out), folder: path.join(out, 'checkpoints', '0000003') }
    }
    const tensorOf = async (folder: string, file: string, tensor: string): Promise<Float32Array> => {
      const opened = await openTensorFile(path.join(folder, file))
      const values = await opened.readFloat32(tensor)
      await opened.close()
      return values
    }
    const alone = await trainedWith({ w_ssl: 0, w_clip: 0 })
    // Without masks the mask token's gradient is 0, and its weight decays: two blocks behind the embeddings.
    const keep = alone.log.reduce((all, { lr, weight_decay }) => all * (1 - lr * layer_decay ** 3 * weight_decay), 1)
    const token = await tensorOf(folderOf(name), 'model.safetensors', 'trunk.mask_token')
    const decayed = await tensorOf(alone.folder, 'model.safetensors', 'trunk.mask_token')
    expect(keep).toBeLessThan(0.99999)
    decayed.forEach((value, i) => {
      expect(value).toBeCloseTo(token[i]! * keep, 6)
    })
    const untold = await trainedWith({ w_clip: 0 })
    const [student, teacher, followed] = await Promise.all([
      tensorOf(folderOf(name), 'model.safetensors', 'visual_proj.weight'),
      tensorOf(folderOf(name), 'training.safetensors', 'teacher_visual_proj.weight'),
      tensorOf(untold.folder, 'training.safetensors', 'teacher_visual_proj.weight'),
    ])
    const share = untold.log.reduce((all, { momentum }) => all * momentum, 1)
    followed.forEach((value, i) => {
      expect(value).toBeCloseTo(share * teacher[i]! + (1 - share) * student[i]!, 6)
    })
    expect(norm(teacher.map((value, i) => value - followed[i]!))).toBeGreaterThan(1e-3)
  })

  it.each([
    ['more steps than batches', { steps: '4' }, /it has no step3\.clip_u8/],
    ['kept rows without stochastic depth', { set: 'config.drop.clip_drop_rate=0' }, /clip_drop_rate is 0/],
    ['captions that may be the same', { set: 'config.identical_captions=positives' }, /which captions are the same/],
    ['a recipe that is none', { recipe: path.join(folderOf(CASES[0]!), 'config.json') }, /hyper_parameters/],
    [
      'a folder without training.safetensors',
      { init: path.join(repoRoot, 'models', 'vtp-nano') },
      /training\.safetensors/,
    ],
  ])('%s: refused before anything is written', async (_, flags, message) => {
    const out = path.join(tempDir(), 'run')
    const run = await replay(CASES[1]!, out, flags)
    expect(run.code).toBe(2)
    expect(run.stderr).toMatch(message)
    expect(() => readFileSync(path.join(out, 'log.jsonl'))).toThrow()
  })
})

describe('groups', () => {
  it.each(CASES)('%s: rate and decay of every parameter', async (name) => {
    const { groups, hyper_parameters } = expectedOf(name)
    const config = parseConfig(readFileSync(path.join(folderOf(name), 'config.json'), 'utf8'), 'config.json')
    const training = await openTensorFile(path.join(folderOf(name), 'training.safetensors'))
    const shapes = new Map<string, readonly number[]>([...expectedTensors(config), ...training.shapes])
    await training.close()
    for (const [parameter, group] of Object.entries(groups)) {
      const mine = groupOf(parameter, shapes.get(parameter)!, config, hyper_parameters)
      expect(mine.lr_multiplier, parameter).toBeCloseTo(group.lr_multiplier, 12)
      expect({ ...mine, lr_multiplier: 0 }, parameter).toEqual({ ...group, lr_multiplier: 0 })
    }
  })
})
