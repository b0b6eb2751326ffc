/**
 * Checkpoints in the layout of the reference's train.py: `model` (names begin with `module.`, RoPE's tables included),
 * `ema`, `opt` (AdamW's state by position among the parameters; pos_embed, the first, has none) and `config`. One is
 * there whole or not at all, and holds every bit of the state. Tensors are written and read one by one.
 */
import path from 'node:path'
import { usageError } from '../errors.js'
import { removeLeftOvers, settle, temporaryName } from '../io/atomic.js'
import { makeFolder } from '../io/make-folder.js'
import { openFileSink } from '../io/shards/file-sink.js'
import { storageError } from '../io/storage-error.js'
import { isTensor, lookUp, openTorchFile, type TorchFile, type TorchTensor, type TorchValue } from '../io/torch/file.js'
import { LazyTensor, type Picklable, PyFloat, PyTuple, writeTorchFile } from '../io/torch/write.js'
import { openWeights, withoutWrappers } from '../io/weights.js'
import { computedBuffer } from '../model/lightningdit/checkpoint.js'
import type { DitConfig } from '../model/lightningdit/config.js'
import { expectedDitTensors, isBuffer, type Shapes } from '../model/lightningdit/tensors.js'
import type { OptimizerSettings } from './adamw.js'
import { RESUME, stateName, stateStep } from './folder.js'
import type { LossScale } from './loss-scale.js'
import { hasState, isFrozen, type StateKind } from './state.js'

export interface CheckpointContent {
  config: DitConfig
  step: number
  /** Of the optimiser, where that is not the step: after a resume of train.py, which begins its moments anew. */
  updates?: number
  lr: number
  /** Where a dynamic scale of the loss is; undefined: there is none. */
  lossScale?: LossScale
  /** Undefined: without the optimiser's state. */
  optimizer: OptimizerSettings | undefined
  /** The configuration as plain data. */
  recipe: Record<string, unknown>
  read: (kind: StateKind, name: string) => Promise<Float32Array>
}

/** Writes a checkpoint; returns its size and SHA-256. Throws VtpErrors for a full disk, with what was there before intact. */
export async function writeCheckpoint(
  file: string,
  content: CheckpointContent,
): Promise<{ bytes: number; sha256: string }> {
  const folder = path.dirname(file)
  try {
    await makeFolder(path.resolve(folder))
    await removeLeftOvers(folder)
  } catch (error) {
    throw storageError('Cannot write', file, error)
  }
  const sink = await openFileSink(temporaryName(file))
  try {
    const stem = stateName(content.step, '')
    await writeTorchFile(stem, layout(content), (bytes) => sink.write(bytes))
    const done = await sink.finish()
    await settle(sink.path, file)
    return done
  } catch (error) {
    await sink.abort()
    throw storageError('Cannot write', file, error)
  }
}

function layout(content: CheckpointContent): Picklable {
  const { config, optimizer, lossScale, recipe, read } = content
  const shapes = expectedDitTensors(config)
  const dict = (kind: 'param' | 'ema', prefix: string): Picklable =>
    new Map(
      [...shapes].map(([name, shape]) => [
        `${prefix}${name}`,
        new LazyTensor(shape, async () => (isBuffer(name) ? computedBuffer(config, name) : read(kind, name))),
      ]),
    )
  return {
    model: dict('param', 'module.'),
    ema: dict('ema', ''),
    ...(optimizer && { opt: optimizerLayout(content, optimizer) }),
    // As torch.amp.GradScaler names them; train.py passes over it.
    ...(lossScale && { scaler: { scale: new PyFloat(lossScale.scale), _growth_tracker: lossScale.good } }),
    config: recipe as Picklable,
  }
}

/** AdamW's state_dict. */
function optimizerLayout(
  { config, step, updates = step, lr, read }: CheckpointContent,
  optimizer: OptimizerSettings,
): Picklable {
  const parameters = [...expectedDitTensors(config)].filter(([name]) => !isBuffer(name))
  const state = new Map(
    parameters.flatMap(([name, shape], at): [number, Picklable][] => {
      if (isFrozen(name)) return []
      const moment = (kind: StateKind): LazyTensor => new LazyTensor(shape, () => read(kind, name))
      const steps = new LazyTensor([], async () => Float32Array.of(updates))
      return [[at, { step: steps, exp_avg: moment('exp_avg'), exp_avg_sq: moment('exp_avg_sq') }]]
    }),
  )
  const group = {
    lr: new PyFloat(lr),
    betas: new PyTuple(new PyFloat(optimizer.beta1), new PyFloat(optimizer.beta2)),
    eps: new PyFloat(optimizer.epsilon),
    weight_decay: optimizer.weightDecay,
    amsgrad: false,
    maximize: false,
    foreach: null,
    capturable: false,
    differentiable: false,
    fused: null,
    decoupled_weight_decay: true,
    params: parameters.map((_, at) => at),
  }
  return { state, param_groups: [group] }
}

/** Where a training begins: a checkpoint with everything, or weights alone. */
export interface StartState {
  readonly path: string
  readonly shapes: Shapes
  /** Steps that were done; 0 for weights alone. */
  readonly step: number
  /** Steps of the optimiser: fewer than `step` where train.py resumed in between. */
  readonly updates: number
  readonly lossScale?: LossScale
  /** Whether there are averages and moments of an optimiser. */
  readonly full: boolean
  read(kind: StateKind, name: string): Promise<Float32Array>
  close(): Promise<void>
}

/**
 * Opens a start. From a checkpoint of train.py's layout it takes model, ema, opt and step; from anything else the
 * weights (`model` before `ema`): then the average is a copy and the moments are 0, as in train.py with weight_init,
 * which `weightsOnly` asks for. Throws VtpErrors `bad_torch_file`, `bad_checkpoint` and the like.
 */
export async function openStart(file: string, weightsOnly = false): Promise<StartState> {
  if (/\.(pt|pth|ckpt)$/i.test(file) && !weightsOnly) {
    const opened = await openTorchFile(file)
    const found = await fullState(opened, file).catch(async (error) => {
      await opened.close()
      throw error
    })
    if (found) return found
    await opened.close()
  }
  const keys = ['model', 'ema', 'state_dict']
  const weights = await openWeights(path.dirname(file), path.basename(file), { keys, rename: withoutWrappers })
  return {
    path: file,
    shapes: new Map([...weights.tensors].map(([name, { shape }]) => [name, shape])),
    step: 0,
    updates: 0,
    full: false,
    async read(kind, name) {
      const values = await weights.readFloat32(name)
      return kind === 'exp_avg' || kind === 'exp_avg_sq' ? new Float32Array(values.length) : values
    },
    close: () => weights.close(),
  }
}

function scaleIn({ root }: TorchFile): LossScale | undefined {
  const [scale, good] = [lookUp(root, 'scaler', 'scale'), lookUp(root, 'scaler', '_growth_tracker')]
  return typeof scale === 'number' && scale > 0 && typeof good === 'number' ? { scale, good } : undefined
}

async function fullState(file: TorchFile, name: string): Promise<StartState | undefined> {
  const [model, ema, state] = [lookUp(file.root, 'model'), lookUp(file.root, 'ema'), lookUp(file.root, 'opt', 'state')]
  if (!(model instanceof Map && ema instanceof Map && state instanceof Map) || state.size === 0) return undefined
  const damaged = (what: string): Error =>
    usageError('bad_checkpoint', `${name} is not a checkpoint of a training: ${what}`, [
      'give the .pt file of train.py or of `vtp train`, or a state dict alone (.safetensors)',
    ])
  const tensors = new Map<string, TorchTensor>()
  for (const [key, value] of model) if (isTensor(value)) tensors.set(withoutWrappers(String(key)), value)
  const averages = new Map<string, TorchValue>([...ema].map(([key, value]) => [withoutWrappers(String(key)), value]))
  // Positions count parameters in the order of the state dict; tables are buffers, and no parameters.
  const order = [...tensors.keys()].filter((key) => !isBuffer(key))
  const firstState = state.values().next().value
  const steps = lookUp(firstState, 'step')
  const updates = isTensor(steps)
    ? Number((await file.readTensor(steps))[0])
    : typeof steps === 'number'
      ? steps
      : undefined
  if (updates === undefined || !Number.isSafeInteger(updates))
    throw damaged('its optimiser does not say how many steps it has done')
  return {
    path: name,
    shapes: new Map([...tensors].map(([key, { shape }]) => [key, shape])),
    // train.py takes the step from the name; its optimiser counts from its last start.
    step: Math.max(updates, stateStep(path.basename(name).replace(RESUME, ''), '.pt') ?? 0),
    updates,
    lossScale: scaleIn(file),
    full: true,
    async read(kind, key) {
      const value =
        kind === 'param'
          ? tensors.get(key)
          : kind === 'ema'
            ? averages.get(key)
            : lookUp(state.get(order.indexOf(key)), kind)
      if (!isTensor(value) || !hasState(kind, key)) throw damaged(`it has no ${kind} of ${key}`)
      const wanted = tensors.get(key)!.shape
      if (value.shape.join() !== wanted.join())
        throw damaged(`its ${kind} of ${key} is [${value.shape}], not [${wanted}]`)
      return file.readFloat32(value)
    },
    close: () => file.close(),
  }
}
