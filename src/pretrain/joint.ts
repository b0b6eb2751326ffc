/**
 * The state of joint pre-training and its steps. Order of a step: schedules; teacher and student forward, gradients of
 * the weighted sum; their global norm, and clipping by it; AdamW with each parameter's rate and decay; the logit scale
 * kept in 0…ln 100; the teacher follows with this step's momentum. A step is a pure function of (state, batch,
 * iteration, recipe): nothing is drawn here. Moments go on while the head's last layer has the rate 0.
 */

import * as ort from '../engine/runtime.js'
import { VtpError } from '../errors.js'
import type { GraphBuilder } from '../graph/builder.js'
import { averageFrozen, clipFactor, globalNorm, updateTensor } from '../train/adamw.js'
import { groupOf, type ParameterGroup } from './groups.js'
import { buildJointGraph } from './joint-graph.js'
import type { HyperParameters, PretrainRecipe } from './recipe.js'
import { cosineAt } from './schedules.js'
import type { PretrainStart } from './start.js'
import { HEAD, hasTeacher, idleTensors, isBuffer, type Shapes, TEACHER, trainedTensors } from './state.js'

const LARGEST_LOGIT_SCALE = Math.log(100)

/** What a state begins with. */
export type JointInitial = Pick<PretrainStart, 'config' | 'head' | 'teacher' | 'read' | 'moment' | 'centre' | 'periods'>

export interface BatchTensor {
  type: 'uint8' | 'int64' | 'float32' | 'bool'
  data: Uint8Array | BigInt64Array | Float32Array
  dims: readonly number[]
}

/** A batch's tensors by the names of joint-graph.ts's inputs. */
export type JointBatch = ReadonlyMap<string, BatchTensor>

export interface JointLog {
  iteration: number
  lr: number
  last_layer_lr: number
  weight_decay: number
  momentum: number
  teacher_temp: number
  grad_norm: number
  total: number
  [loss: string]: number
}

interface Trained {
  name: string
  shape: readonly number[]
  group: ParameterGroup
  parameter: Float32Array
  expAvg: Float32Array
  expAvgSq: Float32Array
  teacher?: Float32Array
}

/** A tensor of the teacher whose student no loss reaches: it follows all the same. */
interface Follower {
  name: string
  shape: readonly number[]
  parameter: Float32Array
  teacher: Float32Array
}

/** A step's line of the log, and what is watched besides. */
export interface JointResult {
  log: JointLog
  signals: Record<string, number>
  seconds: { gradients: number; optimizer: number }
}

export interface JointState {
  trained: readonly Trained[]
  followers: readonly Follower[]
  /** Moving centres by `dino` and `ibot`, [K]. */
  centres: ReadonlyMap<string, Float32Array>
}

export interface JointTrainer {
  readonly state: JointState
  /** One step; `iteration` is the schedules' number. Throws VtpError `not_finite`, and the state is as it was. */
  step(batch: JointBatch, iteration: number): Promise<JointResult>
  close(): Promise<void>
}

export interface JointOptions {
  threads: number
  /** Shapes of every batch's tensors. */
  batch: Shapes
  /** Weights of LPIPS by name, where the recipe uses them. */
  perceptual?: ReadonlyMap<string, Float32Array>
  /** Steps that the start has done. */
  done?: number
  /** A file's beginning: the engine's profile of the run goes to it. */
  profile?: string
}

/** The schedules' values at a step. */
export function ratesAt({ schedules, freeze_last_layer_iters: frozen }: HyperParameters, iteration: number) {
  const lr = cosineAt(schedules.lr, iteration)
  return {
    lr,
    last_layer_lr: iteration < frozen ? 0 : lr,
    weight_decay: cosineAt(schedules.weight_decay, iteration),
    momentum: cosineAt(schedules.momentum, iteration),
    teacher_temp: cosineAt(schedules.teacher_temp, iteration),
  }
}

export async function openJointTrainer(
  initial: JointInitial,
  recipe: PretrainRecipe,
  { threads, batch, perceptual, done = 0, profile }: JointOptions,
): Promise<JointTrainer> {
  const { config } = initial
  const given = recipe.hyper_parameters
  const shapes = trainedTensors(config, initial.head, given)
  const selfSupervised = given.w_ssl > 0
  const trained: Trained[] = []
  for (const [name, shape] of [...shapes, ...idleTensors(config, given)]) {
    const parameter = (await initial.read(name)).slice()
    trained.push({
      name,
      shape,
      group: groupOf(name, shape, config, given),
      parameter,
      expAvg: (await initial.moment('exp_avg', name)) ?? new Float32Array(parameter.length),
      expAvgSq: (await initial.moment('exp_avg_sq', name)) ?? new Float32Array(parameter.length),
      ...(selfSupervised && hasTeacher(name) && { teacher: (await initial.read(`${TEACHER}${name}`)).slice() }),
    })
  }
  const followers = await openFollowers(initial, shapes)
  const teacher = new Map(
    trained
      .filter(({ name, teacher }) => teacher && name !== 'visual_proj.weight')
      .map(({ name, shape }) => [name, shape]),
  )
  const built = buildJointGraph({ config, recipe, periods: initial.periods, trained: shapes, teacher, batch })
  const session = await openTrainingSession(built.graph, threads, profile)
  const centres = new Map<string, Float32Array>()
  for (const name of built.centres.keys())
    centres.set(name, (await initial.centre(name)) ?? new Float32Array(prototypes(initial.head)))
  const scratch = new Float32Array(Math.max(...trained.map(({ parameter }) => parameter.length)))
  const gradients = new Map(trained.map(({ name, parameter }) => [name, new Float32Array(parameter.length)]))
  const fetches = fetchesInto(
    session,
    trained.flatMap(({ name, shape }) => {
      const output = built.gradients.get(name)
      return output ? [[output, shape, gradients.get(name)!] as const] : []
    }),
  )
  let updates = done

  const feedsOf = (tensors: JointBatch, temperature: number): Record<string, ort.Tensor> => {
    const float = (values: Float32Array, dims: readonly number[]) => new ort.Tensor('float32', values, dims)
    const all = new Map<string, ort.Tensor>()
    for (const [name, { type, data, dims }] of tensors)
      all.set(name, new ort.Tensor(type as 'uint8', data as Uint8Array, dims))
    all.set('teacher_temp', float(Float32Array.of(temperature), []))
    for (const [name, values] of centres) all.set(`center.${name}`, float(values, [1, values.length]))
    for (const { name, shape, parameter, teacher: average } of trained) {
      all.set(`w.${name}`, float(parameter, shape))
      if (average) all.set(`t.${name}`, float(average, shape))
    }
    const inputs = built.graph.inputs.map(({ name, shape }) => {
      const values = name.startsWith('v.') ? perceptual?.get(name.slice(2)) : undefined
      return [name, values ? float(values, shape as number[]) : all.get(name)!] as const
    })
    return Object.fromEntries(inputs)
  }

  return {
    state: { trained, followers, centres },
    async step(tensors, iteration) {
      const rates = ratesAt(given, iteration)
      const began = performance.now()
      const results = await session.run(feedsOf(tensors, rates.teacher_temp), fetches)
      const values = (name: string): Float32Array => results[name]!.data as Float32Array
      const found = Object.fromEntries([...built.losses].map(([name, output]) => [name, values(output)[0]!]))
      const log: JointLog = {
        iteration,
        ...rates,
        grad_norm: globalNorm([...gradients.values()]),
        total: found.total!,
        ...found,
      }
      assertFinite(log, `Step ${iteration}`, [
        'lower the learning rate, or clip gradients (clip_grad)',
        'raise the teacher temperature',
      ])
      const computed = performance.now()
      updates++
      const gradientScale = clipFactor(log.grad_norm, { maxGradNorm: given.clip_grad ?? undefined })
      const scale = logitScale(trained)
      for (const tensor of trained) update(tensor, gradients.get(tensor.name)!, { ...rates, gradientScale })
      for (const { name, teacher, parameter } of followers)
        if (!isBuffer(name)) averageFrozen(teacher, parameter, rates.momentum)
      for (const [name, output] of built.centres) centres.get(name)!.set(values(output))
      const signals = Object.fromEntries([...built.signals].map(([name, output]) => [name, values(output)[0]!]))
      const seconds = { gradients: (computed - began) / 1000, optimizer: (performance.now() - computed) / 1000 }
      return { log, signals: { ...signals, ...scale }, seconds }
    },
    async close() {
      if (profile !== undefined) session.endProfiling()
      await session.release()
    },
  }

  function update(
    tensor: Trained,
    gradient: Float32Array,
    rates: ReturnType<typeof ratesAt> & { gradientScale: number },
  ): void {
    const { group, name, parameter } = tensor
    const lr = (group.is_last_layer ? rates.last_layer_lr : rates.lr) * group.lr_multiplier
    updateTensor(
      { ...tensor, ema: tensor.teacher ?? scratch.subarray(0, parameter.length) },
      gradient,
      {
        beta1: given.betas[0],
        beta2: given.betas[1],
        epsilon: given.eps,
        weightDecay: rates.weight_decay * group.wd_multiplier,
        emaDecay: rates.momentum,
      },
      { lr, step: updates, gradientScale: rates.gradientScale },
    )
    if (name === 'logit_scale')
      parameter.forEach((value, i) => {
        parameter[i] = Math.min(Math.max(value, 0), LARGEST_LOGIT_SCALE)
      })
  }
}

async function openFollowers({ teacher, read }: JointInitial, trained: Shapes): Promise<Follower[]> {
  const followers: Follower[] = []
  for (const [full, shape] of teacher) {
    const name = full.slice(TEACHER.length)
    if (trained.has(name)) continue
    followers.push({ name, shape, parameter: await read(name), teacher: (await read(full)).slice() })
  }
  return followers
}

/** Number of prototypes. */
function prototypes(head: Shapes): number {
  const last = head.get(`${HEAD}last_layer.weight_v`) ?? head.get(`${HEAD}last_layer.weight`)
  return last?.[0] ?? 0
}

/**
 * What a run of a session is to give: all outputs, and the named ones into the same memory at every step. For gradients: fresh pages would cost a few percent of a step.
 */
export function fetchesInto(
  session: ort.InferenceSession,
  outputs: readonly (readonly [name: string, shape: readonly number[], values: Float32Array])[],
): Record<string, ort.Tensor | null> {
  const fetches: Record<string, ort.Tensor | null> = Object.fromEntries(session.outputNames.map((name) => [name, null]))
  for (const [name, shape, values] of outputs) fetches[name] = new ort.Tensor('float32', values, shape)
  return fetches
}

/** Throws VtpError `engine_open_failed`. */
export async function openTrainingSession(
  graph: GraphBuilder,
  threads: number,
  profile?: string,
): Promise<ort.InferenceSession> {
  try {
    return await ort.InferenceSession.create(graph.encode(''), {
      executionProviders: ['cpu'],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      graphOptimizationLevel: 'all',
      enableMemPattern: false,
      logSeverityLevel: 3,
      ...(profile !== undefined && { enableProfiling: true, profileFilePrefix: profile }),
      // Idle threads must not spin while the optimiser runs.
      extra: { session: { intra_op: { allow_spinning: '0' } } },
    })
  } catch (error) {
    throw new VtpError(`The training graph could not be opened: ${(error as Error).message}`, {
      code: 'engine_open_failed',
      cause: error,
    })
  }
}

/** Throws VtpError `not_finite` that names the values which are not. */
export function assertFinite(log: Record<string, number>, what: string, suggestions: string[]): void {
  const bad = Object.entries(log).filter(([, value]) => !Number.isFinite(value))
  if (bad.length === 0) return
  const seen = bad.map(([name, value]) => `${name} = ${value}`).join(', ')
  throw new VtpError(`${what} is not finite: ${seen}`, { code: 'not_finite', suggestions })
}

/** What the step multiplies cosines by; nothing where it is not trained. */
function logitScale(trained: readonly Trained[]): Record<string, number> {
  const found = trained.find(({ name }) => name === 'logit_scale')
  return found ? { logit_scale: Math.exp(found.parameter[0]!) } : {}
}
