/**
 * One step of joint pre-training as a graph: the teacher's targets, the student's branches, every loss, and the
 * gradients of their weighted sum by the student's parameters. Reference: the training class (vtp/models/vtp.py, VTP
 * 5ce1eb6) for what feeds which loss, DINOv2 for the self-supervised step around it.
 *
 * Without `rec_u8` the first rows of `clip_u8` are reconstructed, from the same pass of the trunk. With `caption_matches`
 * (byImage and byCaption of losses.ts) the rows of `tokens` are distinct captions.
 *
 * Inputs: `w.NAME` the student's parameters, `t.NAME` the teacher's; the views `clip_u8`, `global_u8`, `local_u8`,
 * `rec_u8` [B, H, W, 3]; `tokens`; `masks`, `mask_indices`, `masks_weight`; `teacher_temp`; `center.dino` and
 * `center.ibot`; `keep.…` the rows that stochastic depth keeps; `v.NAME` the weights of LPIPS. Global crops are
 * crop-major: all first crops, then all second ones.
 */
import { GraphBuilder, type Value } from '../graph/builder.js'
import { addGradients } from '../graph/gradients/index.js'
import { steadyProducts } from '../graph/steady-products.js'
import type { VtpConfig } from '../model/vtp/config.js'
import {
  addBottleneck,
  addPixelDecoder,
  addTrunk,
  type KeptRows,
  normalisedPlanes,
  type TrainingModel,
  type TrunkFeatures,
} from '../model/vtp/training.js'
import { addTextTower } from '../model/vtp/training-text.js'
import { addHead } from './head.js'
import * as losses from './losses.js'
import type { PretrainRecipe } from './recipe.js'
import { HEAD, type Shapes } from './state.js'
import { addCentred, addSinkhorn } from './targets.js'

export interface JointSpec {
  config: VtpConfig
  recipe: PretrainRecipe
  periods: TrainingModel['periods']
  /** The student's parameters that are trained, in their order. */
  trained: Shapes
  teacher: Shapes
  /** Shapes of the batch's tensors; `keep.…` of those that are there. */
  batch: Shapes
}

export interface JointGraph {
  graph: GraphBuilder
  /** Names of outputs: gradients by parameter, losses, and whatever else a caller may look at. */
  gradients: Map<string, string>
  losses: Map<string, string>
  centres: Map<string, string>
  /** What is watched besides the losses: the entropy of the targets, the spread of the CLS tokens. */
  signals: Map<string, string>
}

export function buildJointGraph(spec: JointSpec): JointGraph {
  const { config, recipe, trained } = spec
  const { w_clip, w_ssl, w_rec, w_koleo } = recipe.hyper_parameters
  const graph = new GraphBuilder()
  const student = new Map<string, Value>()
  for (const [name, shape] of trained)
    student.set(name, graph.input({ name: `w.${name}`, dtype: 'float32', shape: [...shape] }))
  const inputs = new BatchInputs(graph, spec.batch)
  const modelOf = (values: Map<string, Value>): TrainingModel => ({
    graph,
    config,
    periods: spec.periods,
    rope: recipe.config.rope,
    parameter: (name) => values.get(name)!,
  })
  const model = modelOf(student)
  const parts: [string, number, Value][] = []
  const centres = new Map<string, string>()
  const signals = new Map<string, Value>()
  let whole: TrunkFeatures | undefined
  if (w_clip > 0) {
    whole = addTrunk(model, { planes: inputs.planes('clip_u8'), keep: inputs.keep('clip') })
    parts.push(['clip', w_clip, contrastive(model, recipe, inputs, whole)])
    signals.set('cls_spread', losses.addSpread(graph, whole.cls))
  }
  if (w_ssl > 0) {
    const teacher = new Map<string, Value>()
    for (const [name, shape] of spec.teacher)
      teacher.set(name, graph.input({ name: `t.${name}`, dtype: 'float32', shape: [...shape] }))
    const ssl = selfSupervised(model, modelOf(teacher), [student, teacher], recipe, inputs)
    parts.push(['dino_local', w_ssl, ssl.local], ['dino_global', w_ssl, ssl.global])
    parts.push(['koleo', w_ssl * w_koleo, ssl.koleo], ['ibot', w_ssl, ssl.ibot])
    for (const [name, value] of ssl.centres) centres.set(name, graph.expose(value))
    signals.set('target_entropy', losses.addEntropy(graph, ssl.targets))
    signals.set('cls_spread', losses.addSpread(graph, ssl.cls))
  }
  if (w_rec > 0) parts.push(...reconstructionParts(model, recipe, inputs, whole))
  const total = losses.addWeighted(
    graph,
    parts.filter(([, weight]) => weight > 0).map(([, weight, value]) => [weight, value] as const),
  )
  const gradients = addGradients(graph, total, [...student.values()], { straightThrough: true })
  steadyProducts(graph)
  return {
    graph,
    gradients: new Map([...student.keys()].map((name, i) => [name, graph.expose(gradients[i]!)])),
    losses: new Map([
      ['total', graph.expose(graph.op('Identity', [total]))],
      ...parts.map(([name, , value]) => [name, graph.expose(graph.op('Identity', [value]))] as const),
    ]),
    centres,
    signals: new Map([...signals].map(([name, value]) => [name, graph.expose(value)])),
  }
}

/** Inputs of the batch, made when a branch asks for them: a branch that is not there needs none. */
class BatchInputs {
  private readonly made = new Map<string, Value>()

  constructor(
    private readonly graph: GraphBuilder,
    private readonly shapes: Shapes,
  ) {}

  get(name: string, dtype: 'uint8' | 'int64' | 'float32' | 'bool', shape?: (number | string)[]): Value {
    const known = this.made.get(name)
    if (known) return known
    const value = this.graph.input({ name, dtype, shape: shape ?? [...this.shapes.get(name)!] })
    this.made.set(name, value)
    return value
  }

  has(name: string): boolean {
    return this.shapes.has(name)
  }

  size(name: string, axis: number): number {
    return this.shapes.get(name)![axis]!
  }

  planes(name: string): Value {
    return normalisedPlanes(this.graph, this.get(name, 'uint8'))
  }

  /** Rows kept in a branch; `crops` is `.global` or `.local` where both have their own. */
  keep(branch: string, crops = ''): KeptRows {
    return (block, part) => {
      const name = `keep.${branch}.block${block}.${part}${crops}`
      return this.shapes.has(name) ? this.get(name, 'int64') : undefined
    }
  }
}

/** What the losses but reconstruction read: tokens after the final norm, or bottlenecked ones. */
function featuresOf(model: TrainingModel, { cls, patches }: TrunkFeatures): { cls: Value; patches: Value } {
  const { graph, config } = model
  const [batch, count, dim] = patches.shape as [number, number, number]
  const rows = graph.op('Reshape', [patches, graph.ints([batch * count, dim])])
  if (config.vision_bottleneck_ae_only) return { cls, patches: rows }
  return { cls: addBottleneck(model, cls), patches: addBottleneck(model, rows) }
}

function contrastive(
  model: TrainingModel,
  { config }: PretrainRecipe,
  inputs: BatchInputs,
  trunk: TrunkFeatures,
): Value {
  const { graph, parameter } = model
  const { cls, patches } = featuresOf(model, trunk)
  const [batch, count] = trunk.patches.shape as [number, number]
  const cube = (): Value => graph.op('Reshape', [patches, graph.ints([batch, count, Number(patches.shape[1])])])
  const pooled =
    model.config.vision_clip_feat === 'cls' ? cls : graph.op('ReduceMean', [cube(), graph.ints([1])], { keepdims: 0 })
  const images = graph.op('Gemm', [pooled, parameter('visual_proj.weight')], { transB: 1 })
  const distinct = config.identical_captions === 'positives'
  const tokens = inputs.get('tokens', 'int64', distinct ? ['U', inputs.size('tokens', 1)] : undefined)
  const texts = addTextTower(model, tokens)
  const logits = losses.addContrastiveLogits(graph, {
    images: losses.addUnitRows(graph, images),
    texts: losses.addUnitRows(graph, texts),
    logitScale: parameter('logit_scale'),
    logitBias: model.config.init_logit_bias === null ? undefined : parameter('logit_bias'),
  })
  if (distinct) {
    const match = (name: string): Value => inputs.get(name, 'float32', [batch, 'U'])
    const matches = { byImage: match('caption_matches.by_image'), byCaption: match('caption_matches.by_caption') }
    const add = config.siglip ? losses.addDistinctSigLipLoss : losses.addDistinctClipLoss
    return add(graph, logits, matches)
  }
  return config.siglip ? losses.addSigLipLoss(graph, logits) : losses.addClipLoss(graph, logits)
}

function selfSupervised(
  model: TrainingModel,
  teacher: TrainingModel,
  [own, theirs]: [Map<string, Value>, Map<string, Value>],
  { hyper_parameters: given }: PretrainRecipe,
  inputs: BatchInputs,
) {
  const { graph } = model
  const planes = inputs.planes('global_u8')
  const rows = Number(planes.shape[0])
  const half = rows / 2
  const indices = inputs.get('mask_indices', 'int64', ['M'])
  const temperature = inputs.get('teacher_temp', 'float32', [])
  const names = [...own.keys()].filter((name) => name.startsWith(HEAD)).map((name) => name.slice(HEAD.length))
  const head = (values: Map<string, Value>, x: Value): Value =>
    addHead(graph, (name) => values.get(`${HEAD}${name}`)!, names, x).logits
  const masked = (patches: Value): Value => graph.op('Gather', [patches, indices], { axis: 0 }) // [M, D]
  const halves = (x: Value): [Value, Value] =>
    graph.ops('Split', [x, graph.ints([half, half])], 2, { axis: 0 }) as [Value, Value]

  const seen = featuresOf(teacher, addTrunk(teacher, { planes }))
  // Each crop learns from the other one: the halves change places.
  const [first, second] = halves(head(theirs, seen.cls))
  const clsLogits = graph.op('Concat', [second, first], { axis: 0 })
  const patchLogits = head(theirs, masked(seen.patches))
  const centres: [string, Value][] = []
  const targetsOf = (logits: Value, name: string): Value => {
    if (given.centering === 'sinkhorn_knopp') return addSinkhorn(graph, logits, temperature)
    const centre = inputs.get(`center.${name}`, 'float32', [1, Number(logits.shape[1])])
    const centred = addCentred(graph, logits, temperature, centre)
    centres.push([name, centred.centre])
    return centred.targets
  }
  const clsTargets = targetsOf(clsLogits, 'dino')
  const patchTargets = targetsOf(patchLogits, 'ibot')

  const masks = inputs.get('masks', 'bool')
  const whole = featuresOf(model, addTrunk(model, { planes, masks, keep: inputs.keep('ssl', '.global') }))
  const terms = 2 + 2 * given.local_crops
  const globalPairs = losses.addDinoRows(graph, head(own, whole.cls), clsTargets)
  const ibot = losses.addIbotLoss(
    graph,
    head(own, masked(whole.patches)),
    patchTargets,
    inputs.get('masks_weight', 'float32', ['M']),
    rows,
  )
  const [a, b] = halves(whole.cls).map((cls) => losses.addKoleo(graph, cls).loss) as [Value, Value]
  const local = (): Value => {
    const crops = addTrunk(model, { planes: inputs.planes('local_u8'), keep: inputs.keep('ssl', '.local') })
    const logits = head(own, featuresOf(model, crops).cls)
    return losses.addScaled(graph, losses.addDinoPairs(graph, logits, clsTargets, half), 1 / terms)
  }
  return {
    local: given.local_crops > 0 ? local() : graph.scalar(0),
    global: losses.addScaled(graph, globalPairs, 2 / terms),
    koleo: graph.op('Add', [a, b]),
    ibot,
    centres,
    targets: clsTargets,
    cls: whole.cls,
  }
}

function reconstructionParts(
  model: TrainingModel,
  recipe: PretrainRecipe,
  inputs: BatchInputs,
  whole: TrunkFeatures | undefined,
): [string, number, Value][] {
  const { graph } = model
  const { w_rec, w_lpips } = recipe.hyper_parameters
  const { image, target } = reconstruction(model, recipe, inputs, whole)
  const parts: [string, number, Value][] =
    recipe.config.pixel_loss === 'laplacian'
      ? [['rec_laplacian', w_rec, losses.addLaplacianL1(graph, image, target)]]
      : [['rec_l1', w_rec, losses.addL1(graph, image, target)]]
  if (w_lpips === 0) return parts
  const weight = (name: string, shape: number[]): Value => graph.input({ name: `v.${name}`, dtype: 'float32', shape })
  const distances = losses.addPerceptual(graph, weight, image, target)
  return [...parts, ['rec_lpips', w_rec * w_lpips, losses.addMean(graph, distances)]]
}

function reconstruction(
  model: TrainingModel,
  { config }: PretrainRecipe,
  inputs: BatchInputs,
  whole: TrunkFeatures | undefined,
): { image: Value; target: Value } {
  const { graph } = model
  const shares = whole !== undefined && !inputs.has('rec_u8')
  const planes = inputs.planes(shares ? 'clip_u8' : 'rec_u8')
  const { patches, grid } = shares ? whole : addTrunk(model, { planes, keep: inputs.keep('rec') })
  const all = Number(planes.shape[0])
  const count = shares ? Math.min(config.batch?.rec ?? all, all) : all
  const firstRows = (x: Value): Value =>
    count === all ? x : graph.op('Slice', [x, graph.ints([0]), graph.ints([count]), graph.ints([0])])
  const [, tokens, dim] = patches.shape as [number, number, number]
  const rows = addBottleneck(model, graph.op('Reshape', [firstRows(patches), graph.ints([count * tokens, dim])]))
  return { image: addPixelDecoder(model, rows, grid), target: firstRows(planes) }
}
