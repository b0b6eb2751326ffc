/**
 * Training of a group of linear heads as matrix products in ONNX Runtime: logits, softmax cross-entropy and
 * its gradient (graph/gradients), SGD with momentum 0.9 (no decay, no Nesterov, as torch.optim.SGD). All heads of a group
 * are one matrix, [heads × classes, dim]; every head has its own rate. Weights travel between this
 * thread and the engine's without being copied.
 */
import { createHash } from 'node:crypto'
import type { Device } from '../../engine/device.js'
import type { Session } from '../../engine/session.js'
import { openLane } from '../../engine/session-pool.js'
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { compileGraph } from '../../graph/compile.js'
import { addGradients } from '../../graph/gradients/index.js'

const MOMENTUM = 0.9

/** What training changes; `weight` and its momentum are [heads × classes, dim]. */
export type TrainerState = {
  weight: Float32Array
  weightMomentum: Float32Array
  bias: Float32Array
  biasMomentum: Float32Array
}

export interface TrainerSpec {
  heads: number
  classes: number
  dim: number
}

export interface Trainer {
  readonly spec: TrainerSpec
  readonly state: TrainerState
  /** One step of SGD on float32 [N, dim]; returns the loss of every head. */
  step(features: Float32Array, labels: Int32Array, rates: number[]): Promise<Float32Array>
  /** A predictor with the weights as they are now. */
  predictor(): Predictor
  close(): Promise<void>
}

export interface Predictor {
  /** Class of every head for every row, [N, heads]; the first of equal ones. */
  predict(features: Float32Array): Promise<Int32Array>
  logits(features: Float32Array): Promise<Float32Array>
}

export interface TrainerOptions {
  cacheDir: string
  device: Device
}

export async function openTrainer(
  spec: TrainerSpec,
  initial: Pick<TrainerState, 'weight' | 'bias'> | TrainerState,
  options: TrainerOptions,
): Promise<Trainer> {
  const { heads, classes, dim } = spec
  const rows = heads * classes
  const compile = (tower: string, build: (graph: GraphBuilder) => void) =>
    compileGraph({
      cacheDir: options.cacheDir,
      modelDigest: createHash('sha256').update('probe').digest('hex'),
      tower,
      spec,
      build: async (graph) => build(graph),
    })
  const training = await compile('probe-step', (graph) => buildStep(graph, spec))
  const session: Session = await openLane(training, options.device)
  let prediction: Promise<Session> | undefined
  const openPrediction = async (): Promise<Session> => {
    const graph = await compile('probe-predict', (builder) => buildPrediction(builder, spec))
    return openLane(graph, options.device)
  }
  const state: TrainerState = {
    weight: initial.weight,
    bias: initial.bias,
    weightMomentum: 'weightMomentum' in initial ? initial.weightMomentum : new Float32Array(rows * dim),
    biasMomentum: 'biasMomentum' in initial ? initial.biasMomentum : new Float32Array(rows),
  }
  const float = (data: Float32Array, dims: number[]) => ({ data, dtype: 'float32', dims })
  return {
    spec,
    get state() {
      return state
    },
    async step(features, labels, rates) {
      const count = labels.length
      const rate = new Float32Array(rows)
      for (let i = 0; i < rows; i++) rate[i] = rates[Math.floor(i / classes)]!
      const { outputs } = await session.run({
        features: float(features, [count, dim]),
        labels: { data: BigInt64Array.from(labels, BigInt), dtype: 'int64', dims: [count] },
        rate: float(rate, [rows, 1]),
        weight: float(state.weight, [rows, dim]),
        weightMomentum: float(state.weightMomentum, [rows, dim]),
        bias: float(state.bias, [rows, 1]),
        biasMomentum: float(state.biasMomentum, [rows, 1]),
      })
      state.weight = outputs.newWeight!.data as Float32Array
      state.weightMomentum = outputs.newWeightMomentum!.data as Float32Array
      state.bias = outputs.newBias!.data as Float32Array
      state.biasMomentum = outputs.newBiasMomentum!.data as Float32Array
      return outputs.loss!.data as Float32Array
    },
    predictor() {
      // Shared memory is copied by each run instead of being taken away by it.
      const share = (data: Float32Array): Float32Array => {
        const out = new Float32Array(new SharedArrayBuffer(data.byteLength))
        out.set(data)
        return out
      }
      const weight = share(state.weight)
      const bias = share(state.bias)
      const run = async (features: Float32Array, output: string) => {
        prediction ??= openPrediction()
        const inputs = {
          features: float(features.slice(), [features.length / dim, dim]),
          weight: float(weight, [rows, dim]),
          bias: float(bias, [1, rows]),
        }
        return (await (await prediction).run(inputs, [output])).outputs[output]!.data
      }
      return {
        predict: async (features) => Int32Array.from((await run(features, 'classes')) as BigInt64Array, Number),
        logits: async (features) => (await run(features, 'logits')) as Float32Array,
      }
    },
    async close() {
      await session.close()
      if (prediction) await (await prediction).close()
    },
  }
}

function buildStep(graph: GraphBuilder, { heads, classes, dim }: TrainerSpec): void {
  const rows = heads * classes
  const input = (name: string, ...shape: (number | string)[]): Value => graph.input({ name, dtype: 'float32', shape })
  const x = input('features', 'N', dim)
  const labels = graph.input({ name: 'labels', dtype: 'int64', shape: ['N'] })
  const rate = input('rate', rows, 1)
  const weight = input('weight', rows, dim)
  const weightMomentum = input('weightMomentum', rows, dim)
  const bias = input('bias', rows, 1)
  const biasMomentum = input('biasMomentum', rows, 1)

  const flatBias = graph.op('Reshape', [bias, graph.ints([rows])])
  const logits = graph.op('Gemm', [x, weight, flatBias], { transB: 1 })
  const byHead = graph.op('Reshape', [logits, graph.ints([-1, heads, classes])]) // [N, H, K]
  const logP = graph.op('LogSoftmax', [byHead], { axis: 2 })
  const depth = graph.constant([classes], [], 'int64')
  const values = graph.constant([0, 1], [2])
  const hot = graph.op('Unsqueeze', [graph.op('OneHot', [labels, depth, values], { axis: -1 }), graph.ints([1])]) // [N, 1, K]
  const picked = graph.op('ReduceSum', [graph.op('Mul', [logP, hot]), graph.ints([2])], { keepdims: 0 }) // [N, H]
  const loss = graph.op('Neg', [graph.op('ReduceMean', [picked, graph.ints([0])], { keepdims: 0 })])
  // Heads share nothing: the slope of the sum of their losses is each head's own.
  const total = graph.op('ReduceSum', [loss], { keepdims: 0 })
  const [weightGradient, biasGradient] = addGradients(graph, total, [weight, bias]) as [Value, Value]
  const update = (name: string, value: Value, momentum: Value, slope: Value, shape: number[]): void => {
    const moved = graph.op('Add', [graph.op('Mul', [momentum, graph.scalar(MOMENTUM)]), slope])
    graph.output(moved, { name: `new${name}Momentum`, dtype: 'float32', shape })
    graph.output(graph.op('Sub', [value, graph.op('Mul', [moved, rate])]), {
      name: `new${name}`,
      dtype: 'float32',
      shape,
    })
  }
  update('Weight', weight, weightMomentum, weightGradient, [rows, dim])
  update('Bias', bias, biasMomentum, biasGradient, [rows, 1])
  graph.output(loss, { name: 'loss', dtype: 'float32', shape: [heads] })
}

function buildPrediction(graph: GraphBuilder, { heads, classes, dim }: TrainerSpec): void {
  const rows = heads * classes
  const x = graph.input({ name: 'features', dtype: 'float32', shape: ['N', dim] })
  const weight = graph.input({ name: 'weight', dtype: 'float32', shape: [rows, dim] })
  const bias = graph.input({ name: 'bias', dtype: 'float32', shape: [1, rows] })
  const logits = graph.op('Gemm', [x, weight, bias], { transB: 1 })
  const byHead = graph.op('Reshape', [logits, graph.ints([-1, heads, classes])])
  graph.output(byHead, { name: 'logits', dtype: 'float32', shape: ['N', heads, classes] })
  const best = graph.op('ArgMax', [byHead], { axis: 2, keepdims: 0, select_last_index: 0 })
  graph.output(best, { name: 'classes', dtype: 'int64', shape: ['N', heads] })
}
